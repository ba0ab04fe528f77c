CREATE TABLE compact (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    data BLOB NOT NULL
)
