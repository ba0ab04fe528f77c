SELECT position, stream, version, at, kind, payload, hash, message_key
FROM event
WHERE stream = ? AND version > ?
ORDER BY version
LIMIT ?
