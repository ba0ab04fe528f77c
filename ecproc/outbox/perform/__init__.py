"""How effects are carried out: one module per destination, each answers with an Attempt."""
