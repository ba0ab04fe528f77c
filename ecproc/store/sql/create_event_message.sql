CREATE UNIQUE INDEX event_message ON event (message_key) WHERE message_key IS NOT NULL
