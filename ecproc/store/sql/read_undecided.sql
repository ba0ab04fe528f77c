SELECT stream FROM stream WHERE wanted > through ORDER BY stream
