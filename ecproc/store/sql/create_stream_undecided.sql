CREATE INDEX stream_undecided ON stream (stream) WHERE wanted > through
