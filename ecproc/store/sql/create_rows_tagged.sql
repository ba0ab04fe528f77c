CREATE INDEX {table}_tagged ON {table} (stream, ordinal) WHERE tag IS NOT NULL
