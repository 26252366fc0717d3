"""No defense: the model with its fully-connected head, fine-tuned on an episode's support set; and its control."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import Defense, LocalContext, LocalSteps, StepCurve
from fedmeta_flwr.defenses.matching.rescue import Rescue

if TYPE_CHECKING:
    from torch import nn

    from fedmeta_flwr.learning.evaluation import Adapt


class Undefended(Defense):
    """Use the global model as it is meant to be used."""

    curve = StepCurve("fine-tuning", "fine-tuning", "fine-tuning steps", is_of_episode=True)

    def remedy(self) -> Defense:
        """Return what is left to a client of an ordinary federation: the rescue."""
        return Rescue()

    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Fine-tune on the support set."""
        from fedmeta_flwr.learning.evaluation import by_fine_tuning

        return by_fine_tuning(network, context.inner, [context.inner.steps])


class HeadSteps(Undefended):
    """Train the model with its head on the client's own classes first: the control of local steps by matching."""

    label = "local steps with the head"
    curve = StepCurve("head", "fully-connected\nhead (control)", "local steps with the head")

    def remedy(self) -> Defense:
        """Return this."""
        return self

    def network(self, model: Any, context: LocalContext) -> nn.Module:
        """Return a copy."""
        network: nn.Module = copy.deepcopy(model)
        return network

    def local_steps(self, context: LocalContext) -> LocalSteps:
        """Train as in a round, as many steps as a client that matches."""
        training = context.for_local_steps(context.training, "head")
        return LocalSteps(training, context.matching.steps, context.head_lr)
