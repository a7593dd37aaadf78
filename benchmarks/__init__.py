"""Benchmarks: every figure beside its rivals, measured in one run."""
