SELECT stream, position, data
FROM compact
WHERE stream >= ?1 AND (?2 IS NULL OR stream < ?2)
ORDER BY stream, position
