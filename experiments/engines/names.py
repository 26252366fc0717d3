"""The names of the engines."""

FLOWER, RAY, INLINE = "flower", "ray", "inline"
DEFAULT_ENGINE = FLOWER

ENGINES = (FLOWER, RAY, INLINE)
"""Flower's simulation; the ClientApp on Ray actors, without Flower's SuperLink; all in one process, without Ray."""
