"""Benchmarks: each measures this project beside something else, in one run, and reports ratios."""
