"""Seam 3: the client's own ITSM."""
