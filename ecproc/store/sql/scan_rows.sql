SELECT stream, id, ordinal, CAST(data AS BLOB), tag
FROM {table}
WHERE (stream, ordinal, id) {beyond} (?, ?, ?)
ORDER BY stream, ordinal, id
LIMIT ?
