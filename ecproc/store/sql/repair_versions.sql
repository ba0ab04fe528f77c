UPDATE stream SET version = (SELECT coalesce(max(event.version), 0) FROM event WHERE event.stream = stream.stream)
