"""No defense: the model with its fully-connected head is fine-tuned on an episode's support set. Also its control."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import Defense, LocalContext, LocalSteps, StepCurve
from fedmeta_flwr.defenses.matching.rescue import Rescue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from fedmeta_flwr.learning import Adapt


class Undefended(Defense):
    """Use the global model without a defense."""

    curve = StepCurve("fine-tuning", "fine-tuning", "fine-tuning steps", is_of_episode=True)

    def remedy(self) -> Defense:
        """Return the rescue, which is the remedy for a client of a federation without a defense."""
        return Rescue()

    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Fine-tune on the support set."""
        return self.adapt_in_stages(network, context, [context.inner.steps])

    def adapt_in_stages(self, network: Any, context: LocalContext, steps: Sequence[int]) -> Adapt:
        """Fine-tune on the support set."""
        from fedmeta_flwr.learning import by_fine_tuning

        return by_fine_tuning(network, context.inner, steps)


class HeadSteps(Undefended):
    """First train the model with its head on the client's classes: the control of local steps by matching."""

    label = "local steps with the head"
    curve = StepCurve("head", "fully-connected\nhead (control)", "local steps with the head")

    def remedy(self) -> Defense:
        """Return this defense."""
        return self

    def step_in_use(self, other: Defense, context: LocalContext) -> int | None:
        """Return 0, if there is no defense in use."""
        return 0 if type(other) is Undefended else None

    def network(self, model: Any, context: LocalContext) -> nn.Module:
        """Return a copy of the model."""
        network: nn.Module = copy.deepcopy(model)
        return network

    def local_steps(self, context: LocalContext) -> LocalSteps:
        """Train as in a round, with as many steps as a client that matches."""
        training = context.for_local_steps(context.training, "head")
        return LocalSteps(training, context.matching.steps, context.head_lr)
