"""What a benign client measures: accuracies of the global model, and curves along local steps.

A curve along local steps is measured on a copy. Its episodes are the same in every round, so the curves of the clean
model and of the poisoned model are paired.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fedmeta_flwr.defenses import Defense, LocalContext
from fedmeta_flwr.learning import EvaluationPlan, evaluate
from fedmeta_flwr.records import Counts

Accuracies = dict[str, Counts]
"""The counts of each of `results.CURVES`."""


@dataclass(frozen=True)
class Measurement:
    """What is measured, and in which rounds.

    Attributes
    ----------
    plan : EvaluationPlan
        The episodes.
    defense : Defense
        The defense with which the client classifies.
    context : LocalContext
        What the defense works with.
    step_curves : tuple of Defense
        The defenses whose steps are measured, each with its `Defense.curve`.
    has_step_curves : callable
        Takes a server round, and returns whether step curves are measured in it.
    fine_tuning_steps, local_steps : tuple of int
        The points of the curves of an episode and of the curves along local training, as numbers of steps: ascending,
        0 or above.
    fine_tuning_episodes : int
        Episodes of each kind for the curves of an episode: the first ones of the plan.
    """

    plan: EvaluationPlan
    defense: Defense
    context: LocalContext
    step_curves: tuple[Defense, ...]
    has_step_curves: Callable[[int], bool]
    fine_tuning_steps: tuple[int, ...]
    local_steps: tuple[int, ...]
    fine_tuning_episodes: int

    def measure(self, model: Any, server_round: int) -> tuple[Accuracies, dict[str, dict[int, Accuracies]]]:
        """Return the `accuracies` and the curves `along_steps` of a round; a point that both have is measured once."""
        in_use = ((along, along.step_in_use(self.defense, self.context)) for along in self.step_curves)
        points = [(along.curve.key, step) for along, step in in_use if along.curve and step in self.local_steps]
        if not points or not self.has_step_curves(server_round):
            return self.accuracies(model), self.along_steps(model, server_round)
        curves = self.along_steps(model, server_round)
        ((name, step), *_) = points
        return curves[name][step or 0], curves

    def accuracies(self, model: Any) -> Accuracies:
        """Count hits and trials with the defense, after its local steps."""
        return self._counts(self.defense, self.defense.in_use(model, self.context))

    def along_steps(self, model: Any, server_round: int) -> dict[str, dict[int, Accuracies]]:
        """Return the step curves of a round: by name (as in results), then by step, the accuracies."""
        if not self.has_step_curves(server_round):
            return {}
        return {
            along.curve.key: self._episode_curve(along, model)
            if along.curve.is_of_episode
            else self._local_curve(along, model)
            for along in self.step_curves
            if along.curve is not None
        }

    def _episode_curve(self, defense: Defense, model: Any) -> dict[int, Accuracies]:
        plan, network = replace(self.plan, episodes=self.fine_tuning_episodes), defense.in_use(model, self.context)
        adapt = defense.adapt_in_stages(network, self.context, self.fine_tuning_steps)
        stages = evaluate(plan, adapt, _device(network))
        return dict(zip(self.fine_tuning_steps, stages, strict=True))

    def _local_curve(self, defense: Defense, model: Any) -> dict[int, Accuracies]:
        stages = defense.stages(model, self.context, self.local_steps)
        return {step: self._counts(defense, network) for step, network in stages}

    def _counts(self, defense: Defense, network: nn.Module) -> Accuracies:
        return evaluate(self.plan, defense.adapt(network, self.context), _device(network))[0]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
