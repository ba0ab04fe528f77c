"""Seam 1: the append-only event log and the live rows projected from it."""
