"""The settings of a run: what each means, which values it admits, and which combinations are contradictory.

`fedmeta_flwr.config.registry` builds the objects that settings name.
"""

from fedmeta_flwr.config.run_config import ConfigError, RunConfig, Value
from fedmeta_flwr.config.setting import key_of, whole_numbers

__all__ = ["ConfigError", "RunConfig", "Value", "key_of", "whole_numbers"]
