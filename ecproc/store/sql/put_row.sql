INSERT OR REPLACE INTO {table} (stream, id, ordinal, tag, data) VALUES (?, ?, ?, ?, CAST(? AS TEXT))
