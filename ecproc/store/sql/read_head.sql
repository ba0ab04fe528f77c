SELECT position, hash FROM event ORDER BY position DESC LIMIT 1
