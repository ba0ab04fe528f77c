"""What people and pages ask: documents out of live rows and out of the log."""
