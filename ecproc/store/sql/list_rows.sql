SELECT stream, id, ordinal, CAST(data AS BLOB), tag
FROM {table}
WHERE (stream, id) {beyond} (?, ?)
ORDER BY stream, id
LIMIT ?
