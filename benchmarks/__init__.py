"""Benchmarks: what ecproc costs, each figure beside its baseline from the same run (`python -m benchmarks --help`)."""
