CREATE INDEX {table}_id ON {table} (id)
