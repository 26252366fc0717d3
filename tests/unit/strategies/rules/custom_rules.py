"""Server rules that a user may name as ``module:Class``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fedmeta_flwr.protocol.messages import Arrays
from strategies import ClientUpdate, RuleContext, ServerRule


@dataclass(frozen=True)
class Mean(ServerRule):
    """FedAvg, in the order of its sums; `pull` draws the result towards zero."""

    pull: float = 0.0

    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        total = sum(update.weight for update in updates)
        models = [update.moved_to(context.arrays) for update in updates]
        factors = [(1 - self.pull) * (update.weight / total) for update in updates]
        return {
            name: np.sum([model[name] * factor for model, factor in zip(models, factors, strict=True)], axis=0)
            for name in context.arrays
        }


class Returning(ServerRule):
    """Return what a function makes of the global arrays."""

    def __init__(self, outcome: Callable[[Arrays], Any]) -> None:
        self.outcome = outcome

    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        returned: Arrays = self.outcome(context.arrays)
        return returned


class Remembering(ServerRule):
    """A mean that keeps all that it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[ClientUpdate], RuleContext]] = []

    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        self.seen.append((list(updates), context))
        return Mean().aggregate(updates, context)


class Wary(Mean):
    """Needs two updates for each adversary and one more."""

    def require_feasible(self, quorum: int, tolerated_adversaries: int | None) -> None:
        least = 2 * (tolerated_adversaries or 0) + 1
        if quorum < least:
            raise ValueError(f"expected a quorum of at least {least}, found {quorum}")


class Learning(Mean):
    """Has a network, which is called as a function is, but has a state."""

    def __init__(self) -> None:
        super().__init__()
        vars(self)["network"] = torch.nn.Linear(2, 1)


@dataclass(slots=True)
class Slotted(ServerRule):
    """Has its state in slots."""

    velocity: float = 0.0

    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        self.velocity += 1
        return Mean().aggregate(updates, context)


class WithoutAggregation(ServerRule):
    pass
