SELECT position, stream, version, at, kind, payload, hash, message_key
FROM event
WHERE position > ? AND position <= ?
ORDER BY position
