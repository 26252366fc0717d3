"""Arrivals with a heavy tail, and clients that occasionally miss some rounds.

Latencies only order the arrivals, and a round waits for its quorum. So this matters if not all benign clients are
needed.

uv run python -m experiments run quickstart -c arrival-model=examples.custom_arrival_model:Unreliable -c quorum=2
"""

from dataclasses import dataclass

from fedmeta_flwr.seeding import generator

MISSING_MEDIANS = 20
"""How long a missing client takes, in median latencies."""


@dataclass(frozen=True)
class Unreliable:
    """Pareto latencies; with probability `dropout`, a client is late by many rounds.

    The other arguments are those of the built-in model. `sigma` is the weight of the tail: from 1 on, the mean latency
    is infinite.
    """

    seed: int
    median_seconds: float
    sigma: float
    first: frozenset[int]
    dropout: float = 0.1

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return the latency, a function of the arguments only, so that a run can be repeated and resumed."""
        if partition_id in self.first:
            return 0.0
        rng = generator(self.seed, "own-latency", server_round, partition_id)
        if rng.random() < self.dropout:
            return MISSING_MEDIANS * self.median_seconds
        return float(self.median_seconds * (2 - 2 * rng.random()) ** -self.sigma)
