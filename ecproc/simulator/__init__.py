"""The Envision Connect bridge as a local HTTP server: FIFO queue, tickets, files, faults and scripted ticket lives."""
