"""Suites and stand-ins to test ecproc and its adapters with; nothing that runs imports this."""
