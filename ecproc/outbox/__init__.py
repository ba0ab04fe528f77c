"""Planned effects: claimed, performed, settled (decisions 8 to 10)."""
