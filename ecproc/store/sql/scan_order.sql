SELECT position
FROM event
WHERE position <= ?3 AND stream >= ?1 AND (?2 IS NULL OR stream < ?2)
ORDER BY stream, version
