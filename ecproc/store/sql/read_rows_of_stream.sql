SELECT stream, id, ordinal, CAST(data AS BLOB), tag
FROM {table}
WHERE stream = ?
ORDER BY ordinal DESC, id DESC
LIMIT ?
