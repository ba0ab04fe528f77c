INSERT INTO event (position, stream, version, prev, at, kind, message_key, payload, payload_hash, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
