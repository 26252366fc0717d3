"""The roles of clients in a recorded run, and the rounds of its attack."""

from collections.abc import Mapping
from typing import Any

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.schedule import attack_length, attackers
from fedmeta_flwr.data import Roles


def recorded_roles(settings: Mapping[str, Any]) -> Roles:
    """Return the roles in a run from its recorded settings, which may be of an earlier version."""
    settings = RunConfig.with_later_settings(settings)
    return Roles.with_first_adversaries(int(settings["num-adversaries"]), num_clients=int(settings["num-clients"]))


def recorded_attack(settings: Mapping[str, Any]) -> range:
    """Return the rounds of a run's first attack from its recorded settings; empty without an attack.

    There are several if adversaries attack in turn.
    """
    settings = RunConfig.with_later_settings(settings)
    length = attack_length(str(settings["attack-order"]), int(settings["num-adversaries"]))
    first = int(settings["attack-round"])
    return range(first, first + length if first else 0)


def recorded_attackers(settings: Mapping[str, Any], server_round: int) -> tuple[int, ...]:
    """Return the partitions of the adversaries that were to attack in a round, from a run's recorded settings."""
    colluders, settings = recorded_roles(settings).colluders, RunConfig.with_later_settings(settings)
    places = attackers(
        server_round,
        attack_round=int(settings["attack-round"]),
        attack_interval=int(settings["attack-interval"]),
        attack_order=str(settings["attack-order"]),
        num_adversaries=len(colluders),
    )
    return tuple(colluders[place] for place in places)
