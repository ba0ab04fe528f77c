SELECT position, length(payload) FROM event WHERE position > ? AND position <= ? ORDER BY position LIMIT ?
