"""Benchmarks: each measures this project and something to compare it with in one run, and reports ratios."""
