INSERT OR REPLACE INTO snapshot (stream, version, fold_version, data) VALUES (?, ?, ?, ?)
