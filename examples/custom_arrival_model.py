"""Arrivals with a heavy tail, and clients that are now and then out for some rounds.

Latencies order the arrivals, and a round waits for its quorum: this shows where not all benign clients are needed.

uv run python -m experiments run quickstart -c arrival-model=examples.custom_arrival_model:Unreliable -c quorum=2
"""

from dataclasses import dataclass

from fedmeta_flwr.seeding import generator

OUT_FOR = 20
"""Median latencies."""


@dataclass(frozen=True)
class Unreliable:
    """Pareto latencies; with `dropout` as its probability, a client is late by many rounds.

    Takes what the built-in model takes; `sigma` is the tail here: from 1 on, the mean latency is infinite.
    """

    seed: int
    median_seconds: float
    sigma: float
    first: frozenset[int]
    dropout: float = 0.1

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        """Return a function of its arguments alone, so that a run can be repeated and resumed."""
        if partition_id in self.first:
            return 0.0
        rng = generator(self.seed, "own-latency", server_round, partition_id)
        if rng.random() < self.dropout:
            return OUT_FOR * self.median_seconds
        return float(self.median_seconds * (2 - 2 * rng.random()) ** -self.sigma)
