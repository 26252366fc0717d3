"""Experiments: configurations, the runner around `flwr run`, tables and figures."""
