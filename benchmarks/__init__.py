"""Benchmarks: not installed, and not part of the test suite."""
