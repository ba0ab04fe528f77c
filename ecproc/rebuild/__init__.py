"""Live state built again from the log, aside: compared with the live rows, or put in their place (`ecproc replay`)."""
