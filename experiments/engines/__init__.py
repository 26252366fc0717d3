"""Engines: ways to run the app's real server and clients behind Flower's `Grid`, all with the same results.

The default engine, Flower's simulation, is `experiments.runner.superlink`; those of this package need no SuperLink.
"""

from experiments.engines.names import DEFAULT_ENGINE, ENGINES, FLOWER, INLINE, RAY

__all__ = ["DEFAULT_ENGINE", "ENGINES", "FLOWER", "INLINE", "RAY"]
