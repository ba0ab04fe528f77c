SELECT stream, id, ordinal, CAST(data AS BLOB), tag
FROM {table}
WHERE tag IS NOT NULL AND (stream, ordinal, id) {beyond} (?, ?, ?)
ORDER BY stream, ordinal, id
LIMIT ?
