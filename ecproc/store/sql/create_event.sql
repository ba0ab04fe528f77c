CREATE TABLE event (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    prev INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message_key BLOB,
    payload BLOB NOT NULL,
    payload_hash BLOB NOT NULL,
    hash BLOB NOT NULL
)
