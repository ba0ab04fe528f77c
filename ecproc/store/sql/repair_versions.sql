UPDATE stream
SET version = coalesce(kept.version, 0), last = coalesce(kept.last, 0)
FROM
    stream AS old
    LEFT JOIN (SELECT stream, max(version) AS version, max(position) AS last FROM event GROUP BY stream) AS kept
    ON kept.stream = old.stream
WHERE old.stream = stream.stream
