SELECT stream, version, through, wanted, last
FROM stream
WHERE stream {beyond} ? AND version > 0
ORDER BY stream
LIMIT ?
