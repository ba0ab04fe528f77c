WITH RECURSIVE tail AS (
    SELECT event.position, event.stream, event.version, event.at, event.kind, event.payload, event.hash, event.message_key, event.prev, stream.version AS expected
    FROM stream LEFT JOIN event ON event.position = stream.last
    WHERE stream.stream = ?1 AND stream.version > ?2
    UNION ALL
    SELECT event.position, event.stream, event.version, event.at, event.kind, event.payload, event.hash, event.message_key, event.prev, tail.expected - 1
    FROM tail LEFT JOIN event ON event.position = tail.prev
    WHERE tail.expected > ?2 + 1
)
SELECT position, stream, version, at, kind, payload, hash, message_key, expected
FROM tail
