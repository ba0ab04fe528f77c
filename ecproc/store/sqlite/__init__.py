"""The store in one SQLite file of a data directory: one writing thread, read-only readers beside it."""
