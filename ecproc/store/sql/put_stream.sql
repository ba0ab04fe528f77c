INSERT OR REPLACE INTO stream (stream, version, through, wanted) VALUES (?, ?, ?, ?)
