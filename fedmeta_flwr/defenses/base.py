"""The interface of a defense: how a client uses the global model.

A defense is a file with a subclass of `Defense`. The setting ``defense`` names it as ``module:attribute``, and it is
called with the options in ``defense-options``. By default, every method does what a client without a defense does; only
`Defense.adapt` has no default. Clients, evaluation, checks of settings, figures, claims and the report all use a
defense through this interface.

This module does not import PyTorch, because settings are checked and results are analysed without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from fedmeta_flwr.data import Holdings
    from fedmeta_flwr.learning import Adapt, Classifier, InnerLoop, LocalTraining, MatchingNetwork


@dataclass(frozen=True)
class MatchingSettings:
    """How a client matches features; the names are those of the run configuration.

    Attributes
    ----------
    way : int
        Classes in an episode that trains matching.
    steps : int
        Local steps before a client classifies by matching.
    lr : float
        Learning rate of these steps.
    new_attention : callable
        Takes the length of a feature vector, and optionally the number of an independent draw, from 0; returns a new
        attention.
    """

    way: int
    steps: int
    lr: float
    new_attention: Callable[..., nn.Module]


@dataclass(frozen=True)
class LocalContext:
    """What a defense of one client works with.

    Attributes
    ----------
    training : LocalTraining
        How a client without a defense trains in a round: with the fully-connected head.
    holdings : Holdings
        The client's classes.
    inner : InnerLoop
        How the model with its head is fine-tuned on the support set of an evaluation episode.
    head_lr : float
        Learning rate of local steps with the head.
    matching : MatchingSettings
        How a client matches features.
    new_classifier : callable
        Returns a classifier on the CPU with new random weights: always the same ones, and those of this client only.
        Whole numbers as arguments choose other weights, independent of these.
    """

    training: LocalTraining
    holdings: Holdings
    inner: InnerLoop
    head_lr: float
    matching: MatchingSettings
    new_classifier: Callable[..., Classifier]

    def for_local_steps(self, training: LocalTraining, name: str) -> LocalTraining:
        """Return a training with separate random streams, for local steps outside of the rounds."""
        return replace(training, purpose=f"local-{name}-episode")


@dataclass(frozen=True)
class LocalSteps:
    """Training on a client's classes before it uses the model, outside of the rounds.

    Attributes
    ----------
    training : LocalTraining
        How the client trains.
    steps : int
        Number of steps, 0 or above.
    lr : float
        Learning rate of the optimiser.
    prepare : callable, optional
        Called with the network and the optimiser before the first step, for example to register hooks.
    """

    training: LocalTraining
    steps: int
    lr: float
    prepare: Callable[[Any, Optimizer], None] | None = None

    def train_in_stages(self, network: nn.Module, holdings: Holdings, steps: Sequence[int]) -> Iterator[int]:
        """Train a network in place; yield each listed number of steps when it is reached, instead of `steps`."""
        prepare = None if self.prepare is None else partial(self.prepare, network)
        return self.training.train_in_stages(network, holdings, steps=steps, lr=self.lr, prepare=prepare)


@dataclass(frozen=True)
class StepCurve:
    """A curve that is measured along the steps of a defense.

    Attributes
    ----------
    name : str
        Its name in the setting ``step-curves``, with dashes.
    label : str
        Its name in a figure.
    steps : str
        The name of the steps, in the plural.
    is_of_episode : bool
        Whether the steps are fine-tuning steps on an episode's support set, rather than local steps before the episode.
    """

    name: str
    label: str
    steps: str
    is_of_episode: bool = False

    @property
    def key(self) -> str:
        """The name in results, with underscores."""
        return self.name.replace("-", "_")


class Defense(ABC):
    """How a client uses the global model.

    Attributes
    ----------
    label : str
        Its short name in the report, claims and figures; empty if it does nothing about a backdoor.
    has_head : bool
        Whether the shared model is a `Classifier`, with its fully-connected head.
    private : str
        Name of the part that a client keeps private from round to round, with an article; empty if there is none.
    curve : StepCurve or None
        The curve along its steps; None if it has no steps.
    uses_global_model : bool
        Whether a client uses what it is sent; otherwise its curve is the same for the clean and for the poisoned model.
    """

    label: str = ""
    has_head: bool = True
    private: str = ""
    curve: StepCurve | None = None
    uses_global_model: bool = True

    @property
    def remark(self) -> str:
        """The remark about the defense in the caption of a figure; empty: none."""
        return f"defense: {self.label}" if self.label else ""

    def remedy(self) -> Defense:
        """Return the defense that helps a client of the run against a backdoor, for report and claims; often this."""
        return self

    def classes_per_step(self, *, way: int, meta_batch_size: int, matching_way: int) -> int:
        """Return the number of classes in all episodes of an outer step of `training`."""
        return way * meta_batch_size

    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        """Return how many classes a client must hold; 0: no more than `way`, which all clients hold.

        An adversary takes part only in the training.
        """
        return 0

    def model(self, classifier: Classifier, matching: MatchingSettings) -> nn.Module:
        """Return the model that a client trains in a round, given a classifier with the run's initial weights."""
        return classifier

    def shared_part(self, model: Any) -> nn.Module:
        """Return the part of `model` that is exchanged, possibly all of it."""
        shared: nn.Module = model
        return shared

    def private_part(self, model: Any) -> nn.Module | None:
        """Return the part of `model` that a client keeps private from round to round; None if there is none."""
        return None

    def training(self, context: LocalContext) -> LocalTraining:
        """Return how a client trains in a round."""
        return context.training

    def network(self, model: Any, context: LocalContext) -> nn.Module:
        """Return the network that a client classifies with; a copy of `model` if local steps will change it."""
        network: nn.Module = model
        return network

    def local_steps(self, context: LocalContext) -> LocalSteps | None:
        """Return how `network` is trained before it is used; None if it is not."""
        return None

    @abstractmethod
    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Return how a `network`, after its local steps, adapts to the support set of an episode.

        Returns
        -------
        Adapt
            A function that takes a support set (`Batch`) and returns a sequence of one prediction function. The
            prediction function takes images (rows, channels, height, width), and returns logits or log-probabilities
            (rows, way). It predicts in evaluation mode, and apart from the mode the network stays unchanged.
        """

    def adapt_in_stages(self, network: Any, context: LocalContext, steps: Sequence[int]) -> Adapt:
        """Return how a `network`, after its local steps, adapts along the steps of a curve of an episode.

        A defense needs it if its curve has `is_of_episode`. The function yields a prediction function, as in `adapt`,
        when each listed number of steps on the support set is reached; use it before the next iteration. `steps` are
        ascending, 0 or above.
        """
        raise NotImplementedError(
            f"{self.label or 'no defense'}: expected a method adapt_in_stages for a curve of an episode, found none"
        )

    def compared(self, network: Any) -> MatchingNetwork | None:
        """Return the matching network whose features the report shows; None if the defense does not match features."""
        return None

    def stages(self, model: Any, context: LocalContext, steps: Sequence[int]) -> Iterator[tuple[int, nn.Module]]:
        """Train a network locally; yield each listed number of steps when it is reached, with the network.

        The network is always the same object: use it before the next iteration. `steps` are ascending, 0 or above.
        """
        network, local = self.network(model, context), self.local_steps(context)
        if local is None:
            raise ValueError(f"{self.label or 'no defense'}: expected a defense with local steps, found one without")
        for step in local.train_in_stages(network, context.holdings, steps):
            yield step, network

    def step_in_use(self, other: Defense, context: LocalContext) -> int | None:
        """Return after how many local steps this defense counts the same hits as another one in use; None if never.

        The point of its curve is then not measured twice. By default, it is measured.
        """
        return None

    def in_use(self, model: Any, context: LocalContext) -> nn.Module:
        """Return the network that a client classifies with, after its local steps."""
        local = self.local_steps(context)
        if local is None:
            return self.network(model, context)
        ((_, network),) = self.stages(model, context, [local.steps])
        return network
