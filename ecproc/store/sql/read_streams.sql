SELECT position, stream, version, at, kind, payload, hash, message_key
FROM event
WHERE (stream, version) > (?, ?) AND position <= ?
ORDER BY stream, version
LIMIT ?
