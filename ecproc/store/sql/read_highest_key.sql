SELECT max(message_key) FROM event WHERE message_key IS NOT NULL
