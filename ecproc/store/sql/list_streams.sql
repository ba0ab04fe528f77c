SELECT stream, version, through, wanted FROM stream WHERE stream {beyond} ? AND version > 0 ORDER BY stream LIMIT ?
