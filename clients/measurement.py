"""What a benign client measures of the global model: accuracies, and curves along local steps.

A curve along local steps is measured on a copy. Its episodes are the same in every round, so that the curves of the
clean and of the poisoned model are paired.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from fedmeta_flwr.data.split import Holdings
from fedmeta_flwr.learning.evaluation import EvaluationPlan, by_fine_tuning, by_matching, evaluate
from fedmeta_flwr.learning.local_training import LocalTraining
from fedmeta_flwr.learning.matching_network import MatchingNetwork
from fedmeta_flwr.learning.meta_learning import InnerLoop
from fedmeta_flwr.learning.models import Classifier
from fedmeta_flwr.records.entries import Counts

Accuracies = dict[str, Counts]
"""Each of `results.CURVES` to its counts."""


@dataclass(frozen=True)
class LocalSteps:
    """Training on a client's own classes before use, outside of any round.

    Attributes
    ----------
    matching, head : LocalTraining
        How the matching network is trained, and how the model with its fully-connected head (the control).
    holdings : Holdings
        The client's own classes.
    matching_lr, head_lr : float
        Learning rates of the two.
    new_attention : callable
        Length of a feature vector to a new attention.
    """

    matching: LocalTraining
    head: LocalTraining
    holdings: Holdings
    matching_lr: float
    head_lr: float
    new_attention: Callable[[int], nn.Module]


@dataclass(frozen=True)
class Measurement:
    """What is measured, and in which rounds.

    Attributes
    ----------
    plan : EvaluationPlan
        The episodes.
    inner : InnerLoop
        Fine-tuning of the fully-connected head's model in an evaluation episode.
    local : LocalSteps
        Training on own classes before use.
    matching_steps : int
        Local steps before a client classifies by matching.
    step_curves : tuple of str
        Which of `results.STEP_CURVES` are measured.
    has_step_curves : callable
        Server round to whether they are.
    fine_tuning_steps, local_steps : tuple of int
        From 0, ascending: where the curves along fine-tuning and along local training have a point.
    fine_tuning_episodes : int
        Episodes of each kind for the fine-tuning curve, the first ones of the plan.
    """

    plan: EvaluationPlan
    inner: InnerLoop
    local: LocalSteps
    matching_steps: int
    step_curves: tuple[str, ...]
    has_step_curves: Callable[[int], bool]
    fine_tuning_steps: tuple[int, ...]
    local_steps: tuple[int, ...]
    fine_tuning_episodes: int

    def with_head(self, model: Classifier) -> Accuracies:
        """Classify with the fully-connected head, fine-tuned on each support set."""
        return evaluate(self.plan, by_fine_tuning(model, self.inner, [self.inner.steps]), _device(model))[0]

    def with_matching(self, model: Classifier | MatchingNetwork) -> Accuracies:
        """Classify by matching, after `matching_steps` local steps."""
        return evaluate(self.plan, by_matching(self.defended(model), self.plan.batch_norm), _device(model))[0]

    def defended(self, model: Classifier | MatchingNetwork) -> MatchingNetwork:
        """Return the network with which a client classifies by matching: a copy, after `matching_steps` local steps."""
        network = self._own_network(model)
        for _ in self._local_stages(network, [self.matching_steps]):
            pass
        return network

    def along_steps(self, model: nn.Module, server_round: int) -> dict[str, dict[int, Accuracies]]:
        """Return the curves that are measured in a round: name to step to accuracies."""
        measures: Mapping[str, Callable[..., dict[int, Accuracies]]] = {
            "fine_tuning": self._fine_tuning_curve,
            "matching": self._matching_curve,
            "head": self._head_curve,
        }
        names = self.step_curves if self.has_step_curves(server_round) else ()
        return {name: measures[name](model) for name in names}

    def _fine_tuning_curve(self, model: Classifier) -> dict[int, Accuracies]:
        plan = replace(self.plan, episodes=self.fine_tuning_episodes)
        stages = evaluate(plan, by_fine_tuning(model, self.inner, self.fine_tuning_steps), _device(model))
        return dict(zip(self.fine_tuning_steps, stages, strict=True))

    def _matching_curve(self, model: Classifier | MatchingNetwork) -> dict[int, Accuracies]:
        network = self._own_network(model)
        adapt = by_matching(network, self.plan.batch_norm)
        stages = self._local_stages(network, self.local_steps)
        return {step: evaluate(self.plan, adapt, _device(network))[0] for step in stages}

    def _local_stages(self, network: MatchingNetwork, steps: Sequence[int]) -> Iterator[int]:
        local = self.local
        return local.matching.train_in_stages(network, local.holdings, steps=steps, lr=local.matching_lr)

    def _head_curve(self, model: Classifier) -> dict[int, Accuracies]:
        trained = copy.deepcopy(model)
        adapt = by_fine_tuning(trained, self.inner, [self.inner.steps])
        local = self.local
        stages = local.head.train_in_stages(trained, local.holdings, steps=self.local_steps, lr=local.head_lr)
        return {step: evaluate(self.plan, adapt, _device(trained))[0] for step in stages}

    def _own_network(self, model: Classifier | MatchingNetwork) -> MatchingNetwork:
        """Return a copy to train; of a classifier its embedding, with a new attention."""
        if isinstance(model, MatchingNetwork):
            return copy.deepcopy(model)
        attention = self.local.new_attention(model.embedding.features)
        return MatchingNetwork(copy.deepcopy(model.embedding), attention.to(_device(model)))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
