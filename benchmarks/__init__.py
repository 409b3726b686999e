"""What docs/benchmarks.md claims, measured: `make bench`, or `python benchmarks/run.py NAME...`."""
