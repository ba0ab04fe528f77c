CREATE TABLE {table} (
    stream TEXT NOT NULL,
    id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    tag TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (stream, id)
) WITHOUT ROWID
