"""What people and other systems want done: checked, written down as events, and told what became of it."""
