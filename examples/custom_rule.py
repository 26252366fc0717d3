"""A server rule: the mean update with momentum on the server (Hsu et al. 2019, FedAvgM).

uv run python -m experiments run quickstart -c strategy=examples.custom_rule:ServerMomentum
"""

from collections.abc import Sequence

import numpy as np

from fedmeta_flwr.protocol import Arrays
from strategies import ClientUpdate, RuleContext, ServerRule


class ServerMomentum(ServerRule):
    """Adds the velocity to the global arrays: each round's mean update plus `momentum` times the velocity before."""

    def __init__(self, momentum: float = 0.5) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: expected 0 or above and below 1, found {momentum}")
        self.momentum = momentum
        self.velocity: Arrays = {}  # saved in checkpoints, as every attribute is

    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        """Return the global arrays plus the velocity."""
        weights = [update.weight for update in updates]
        differences = [update.difference() for update in updates]
        for name in context.arrays:
            mean = np.average([difference[name] for difference in differences], axis=0, weights=weights)
            self.velocity[name] = self.momentum * self.velocity.get(name, 0.0) + mean
        return context.plus(self.velocity)
