"""The names of the engines."""

DEFAULT_ENGINE = "flower"

ENGINES = (DEFAULT_ENGINE, "ray", "inline")
"""Flower's simulation; the ClientApp on Ray actors, without Flower's SuperLink; all in one process, without Ray."""
