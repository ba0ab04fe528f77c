INSERT INTO compact (position, stream, data) VALUES (?, ?, ?)
