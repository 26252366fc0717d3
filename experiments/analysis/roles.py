"""The roles of clients in a recorded run."""

from collections.abc import Mapping
from typing import Any

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.data import Roles


def recorded_roles(settings: Mapping[str, Any]) -> Roles:
    """Return the roles in a run from its recorded settings, which may be of an earlier version."""
    settings = RunConfig.with_later_settings(settings)
    return Roles.with_first_adversaries(int(settings["num-adversaries"]), num_clients=int(settings["num-clients"]))
