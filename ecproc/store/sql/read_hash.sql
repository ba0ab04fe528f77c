SELECT hash FROM event WHERE position = ?
