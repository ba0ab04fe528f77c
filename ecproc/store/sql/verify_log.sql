SELECT position, stream, version, at, kind, message_key, payload, payload_hash, hash
FROM event
WHERE position > ?
ORDER BY position
LIMIT ?
