INSERT OR REPLACE INTO main.compact (position, stream, data)
SELECT position, stream, data FROM rebuilt.compact ORDER BY position
