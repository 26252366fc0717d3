"""The order in which the clients' updates arrive, from a latency model or the wall clock.

With a latency model, time is simulated: the update for an instruction sent at time t arrives at t plus the latency
of that round and client. Which updates come first is then a pure function of the model, whatever the operating
system schedules. With `WallClock`, the order is that of the real replies.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fedmeta_flwr import seeding
from fedmeta_flwr.config.registry import make


@runtime_checkable
class LatencyModel(Protocol):
    """How long a client takes in a round. Implement it for a custom model, such as measured traces."""

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return the simulated seconds from instruction to update, finite and 0 or above.

        The same arguments must give the same result.
        """
        ...


@dataclass(frozen=True)
class SeededLatency:
    """Log-normal latencies, drawn for each round and client.

    Parameters
    ----------
    seed : int
        The run's seed.
    median_seconds : float
        Median of the latency, above 0.
    sigma : float
        Standard deviation of the latency's logarithm, 0 or above. With 0 all clients are equally fast, and the lower
        partition id comes first.
    first : frozenset of int
        Partitions that always answer at once (latency 0), such as adversaries.
    """

    seed: int
    median_seconds: float
    sigma: float
    first: frozenset[int] = frozenset()

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return the latency of one client in one round, in seconds."""
        if partition_id in self.first:
            return 0.0
        draws = seeding.generator(self.seed, "latency", server_round, partition_id)
        return float(draws.lognormal(math.log(self.median_seconds), self.sigma))


@dataclass(frozen=True)
class WallClock:
    """Updates count in the order in which they really arrive; a run cannot be repeated exactly."""


ArrivalModel = LatencyModel | WallClock


def wall_clock(*, seed: int, median_seconds: float, sigma: float, first: frozenset[int]) -> WallClock:
    """Return a `WallClock`. The arguments are those of every arrival model; this one ignores them."""
    return WallClock()


def make_arrivals(
    name: str, options: str = "", *, seed: int, median_seconds: float, sigma: float, first: frozenset[int]
) -> ArrivalModel:
    """Return the arrival model of a setting.

    Parameters
    ----------
    name : str
        ``"latency"`` for `SeededLatency`, ``"wall-clock"`` for `WallClock`, or ``"module:attribute"`` of a callable
        that takes the arguments of `SeededLatency` and returns a `LatencyModel`.
    options : str
        Further arguments, as a JSON object; empty: none.
    seed, median_seconds, sigma, first
        As in `SeededLatency`.

    Raises
    ------
    RegistryError
        If there is no such model, or it cannot be used.
    """
    arguments = {"seed": seed, "median_seconds": median_seconds, "sigma": sigma, "first": first}
    model: ArrivalModel = make("arrival-model", name, (LatencyModel, WallClock), arguments, options)
    return model
