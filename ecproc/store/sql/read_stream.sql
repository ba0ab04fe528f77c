WITH RECURSIVE tail (position, prev, expected) AS (
    SELECT stream.last, event.prev, stream.version
    FROM stream LEFT JOIN event ON event.position = stream.last
    WHERE stream.stream = ?1 AND stream.version > ?2
    UNION ALL
    SELECT tail.prev, event.prev, tail.expected - 1
    FROM tail LEFT JOIN event ON event.position = tail.prev
    WHERE tail.expected > ?2 + 1
)
SELECT event.position, event.stream, event.version, event.at, event.kind, event.payload, event.hash, event.message_key, tail.expected
FROM tail LEFT JOIN event ON event.position = tail.position
WHERE tail.expected <= ?3
