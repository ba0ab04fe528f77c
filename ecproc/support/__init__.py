"""What goes out of the house when somebody else is to look at a ticket: without secrets, and without people."""
