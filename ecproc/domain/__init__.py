"""What a ticket is: facts, state machines, effects. Pure: no I/O, no clock, no randomness."""
