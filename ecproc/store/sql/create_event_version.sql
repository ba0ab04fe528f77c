CREATE UNIQUE INDEX event_version ON event (stream, version)
