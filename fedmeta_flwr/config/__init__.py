"""The settings of a run: what each means, which values it admits, and what does not go together."""

from fedmeta_flwr.config.run_config import ConfigError, RunConfig, Value

__all__ = ["ConfigError", "RunConfig", "Value"]
