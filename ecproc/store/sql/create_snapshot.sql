CREATE TABLE snapshot (
    stream TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    fold_version INTEGER NOT NULL,
    data BLOB NOT NULL
)
