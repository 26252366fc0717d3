"""Constrain and scale: an update in the direction of benign updates, and then boosted (Bagdasaryan et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.objective import ObjectiveTerm
from fedmeta_flwr.attacks.simulation import benign_updates, mean

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge
    from fedmeta_flwr.attacks.layers import OuterStep

_SIMULATED_CLIENTS = 5


class Direction(ObjectiveTerm):
    """Replace the objective L by a L + (1 - a) (1 - cos(theta - G, D)); D is the mean of simulated benign updates.

    The constraint is on the parameters, with its gradient. Before the first step, theta - G has no direction, and the
    gradient of the constraint is 0.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    task_weight : float
        The weight a, above 0 and up to 1; 1: the term has no effect.
    """

    def __init__(self, knowledge: Knowledge, task_weight: float) -> None:
        super().__init__(knowledge)
        if not 0 < task_weight <= 1:
            raise ValueError(f"task_weight: expected above 0 and up to 1, found {task_weight}")
        self.task_weight = task_weight

    def begin(self, model: Any, turn: Turn) -> None:
        """Simulate the benign updates."""
        super().begin(model, turn)
        benign = mean(benign_updates(self.knowledge, turn, _SIMULATED_CLIENTS)) if self.task_weight < 1 else {}
        parts = [torch.from_numpy(part).ravel() for part in benign.values()]
        self._benign = torch.cat(parts).to(self.device) if parts else None

    def loss(self, step: OuterStep) -> Tensor:
        """Return (1 - a) times the cosine distance."""
        parts = [new.ravel() - old.ravel() for new, old in zip(step.parameters, step.start, strict=True)]
        update = torch.cat(parts)
        if self._benign is None or not update.any():
            return 0 * update.sum()
        return (1 - self.task_weight) * (1 - functional.cosine_similarity(update, self._benign, dim=0))

    def change_gradients(self, step: OuterStep) -> None:
        """Weigh the gradient of the poisoned episodes, and add that of the constraint."""
        if self.task_weight == 1:
            return
        for parameter in step.parameters:
            if parameter.grad is not None:
                parameter.grad = self.task_weight * parameter.grad
        super().change_gradients(step)


class ConstrainAndScale(LayeredAttack):
    """Poisoned local training, constrained to the direction of benign updates, and a boosted update.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    task_weight : float
        Weight of the poisoned episodes, above 0 and up to 1; the constraint has the rest. With 1, the attack is model
        replacement.
    """

    def __init__(self, knowledge: Knowledge, task_weight: float = 0.5) -> None:
        super().__init__(knowledge, Direction(knowledge, task_weight))
