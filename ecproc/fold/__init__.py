"""Pure: recorded events to facts, a stream's state, its steps, their compact form and its rows."""
