"""Other people's software at the same work: each on the same machine, the same messages and the same kind of stub."""
