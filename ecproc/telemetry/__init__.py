"""What ecproc tells about itself: the catalogue of reports (hooks), their metrics, and log lines."""
