INSERT INTO {table} (stream, id, ordinal, tag, data)
VALUES (?, ?, ?, ?, CAST(? AS TEXT))
ON CONFLICT (stream, id) DO UPDATE SET
    ordinal = excluded.ordinal, tag = excluded.tag, data = excluded.data
WHERE excluded.ordinal >= {table}.ordinal
