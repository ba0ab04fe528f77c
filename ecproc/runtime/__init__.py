"""The async shell: receive and append, fold and decide, rebuild."""
