SELECT stream, id, ordinal, CAST(data AS BLOB), tag FROM {table} WHERE stream = ? AND id = ?
