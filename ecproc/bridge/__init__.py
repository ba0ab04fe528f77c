"""Seam 2: Ensono's side, the Envision Connect bridge."""
