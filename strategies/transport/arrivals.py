"""What decides in which order the clients' updates arrive: a latency model, or the wall clock.

With a latency model time is simulated: an instruction that is sent at time t to a client arrives back, as an
update, at t plus the latency of that round and client. Which updates are the first is then a pure function of
the model, whatever the operating system schedules. With `WallClock` the real replies race.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fedmeta_flwr import seeding
from fedmeta_flwr.config.registry import is_own, make_own


@runtime_checkable
class LatencyModel(Protocol):
    """How long a client takes in a round; the place for a custom model, such as measured traces."""

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return the simulated seconds from instruction to update, finite and 0 or above.

        The same arguments must give the same answer.
        """
        ...


@dataclass(frozen=True)
class SeededLatency:
    """Log-normal latencies, drawn afresh per round and client.

    Parameters
    ----------
    seed : int
        The run's seed.
    median_seconds : float
        Median of the latency, above 0.
    sigma : float
        Standard deviation of the latency's logarithm, 0 or above; 0 makes all clients equally fast, and ties go
        to the lower partition id.
    first : int or None
        Partition that answers at once (latency 0), such as an adversary, whatever it computes; None: nobody.
    """

    seed: int
    median_seconds: float
    sigma: float
    first: int | None = None

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return the latency of one client in one round, in seconds."""
        if partition_id == self.first:
            return 0.0
        draws = seeding.generator(self.seed, "latency", server_round, partition_id)
        return float(draws.lognormal(math.log(self.median_seconds), self.sigma))


@dataclass(frozen=True)
class WallClock:
    """Updates arrive when they really arrive; a run cannot be repeated exactly."""


ArrivalModel = LatencyModel | WallClock


def make_arrivals(name: str, *, seed: int, median_seconds: float, sigma: float, first: int | None) -> ArrivalModel:
    """Return the arrival model of a setting.

    Parameters
    ----------
    name : str
        ``"latency"`` for `SeededLatency`, ``"wall-clock"`` for `WallClock`, or ``"module:attribute"`` of what takes
        the arguments of `SeededLatency` and returns a `LatencyModel`.
    seed, median_seconds, sigma, first
        As in `SeededLatency`.

    Raises
    ------
    OwnCodeError
        If a custom model cannot be used.
    ValueError
        If the name is unknown.
    """
    if is_own(name):
        model: LatencyModel = make_own(
            "arrival-model", name, LatencyModel, seed=seed, median_seconds=median_seconds, sigma=sigma, first=first
        )
        return model
    if name not in ("latency", "wall-clock"):
        raise ValueError(f"arrival-model: expected latency, wall-clock or 'module:attribute', found {name!r}")
    return WallClock() if name == "wall-clock" else SeededLatency(seed, median_seconds, sigma, first)
