INSERT INTO main.{table} (stream, id, ordinal, tag, data)
SELECT stream, id, ordinal, tag, data FROM rebuilt.{table} ORDER BY stream, id
