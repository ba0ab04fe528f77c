INSERT INTO event (position, stream, version, at, kind, message_key, payload, payload_hash, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
