"""An adversary that boosts as far as a norm bound lets it, so that a server that clips or rejects sees nothing odd.

Bagdasaryan et al. 2020 call this train-and-scale.

    uv run python -m experiments run quickstart -c adversary=examples.custom_adversary:QuietAdversary
"""

import numpy as np
from flwr.common import NDArrays, Scalar

from clients import Adversary

BOUND = 0.5


class QuietAdversary(Adversary):
    """Attacks as `Adversary` does, and shortens what it uploads."""

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Scale the boosted update down to the bound; where it abstains, there is nothing to scale."""
        boosted, num_examples, metrics = super().fit(parameters, config)
        updates = [new - old for new, old in zip(boosted, parameters, strict=True)]
        norm = float(np.sqrt(sum((update**2).sum() for update in updates)))
        factor = np.float32(min(1.0, BOUND / norm))
        return [old + factor * update for old, update in zip(parameters, updates, strict=True)], num_examples, metrics
