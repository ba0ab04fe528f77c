SELECT stream, id, ordinal, CAST(data AS BLOB), tag FROM {table} WHERE id = ? ORDER BY stream
