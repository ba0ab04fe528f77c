SELECT position, stream, version, at, kind, payload, hash, message_key
FROM event
WHERE kind = ?
ORDER BY position
