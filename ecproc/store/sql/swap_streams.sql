INSERT INTO main.stream (stream, version, through, wanted)
SELECT stream, version, through, wanted FROM rebuilt.stream ORDER BY stream
