"""An adversary that boosts only up to a norm bound, so that a server that clips or rejects updates notices nothing.

Source: Bagdasaryan et al. 2020 (train-and-scale).

    uv run python -m experiments run quickstart -c adversary=examples.custom_adversary:QuietAdversary
"""

import numpy as np
from flwr.common import NDArrays, Scalar

from clients import Adversary

BOUND = 0.5


class QuietAdversary(Adversary):
    """Attacks as `Adversary` does, and scales its upload down."""

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Scale the boosted update down to the bound; an abstention is raised before anything is scaled."""
        boosted, num_examples, metrics = super().fit(parameters, config)
        updates = [new - old for new, old in zip(boosted, parameters, strict=True)]
        norm = float(np.sqrt(sum((update**2).sum() for update in updates)))
        factor = np.float32(min(1.0, BOUND / norm))
        return [old + factor * update for old, update in zip(parameters, updates, strict=True)], num_examples, metrics
