"""Whether this machine, its configuration, its data and the way to the bridge are as `run` needs them."""
