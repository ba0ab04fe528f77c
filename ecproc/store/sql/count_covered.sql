SELECT coalesce(sum(stream.version), 0)
FROM stream JOIN event ON event.position = stream.last
WHERE event.stream = stream.stream AND event.version = stream.version
