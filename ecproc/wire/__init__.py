"""Envision Connect: bytes to values and back. Pure; the only place that knows the guide's spellings."""
