INSERT INTO main.stream (stream, version, through, wanted, last)
SELECT stream, version, through, wanted, last FROM rebuilt.stream ORDER BY stream
