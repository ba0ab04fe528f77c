INSERT INTO stream (stream, version, through, wanted, last)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stream) DO UPDATE SET
    version = excluded.version, through = excluded.through, wanted = excluded.wanted, last = excluded.last
