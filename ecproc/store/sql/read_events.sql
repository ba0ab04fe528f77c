SELECT position, stream, version, at, kind, payload, hash, message_key
FROM event
WHERE position IN (SELECT value FROM json_each(?))
