CREATE INDEX event_quarantined ON event (kind) WHERE kind = 'MessageQuarantined'
