"""The interface of a defense: what a client does with the global model.

A defense is one file with a subclass of `Defense`. The setting ``defense`` names it as ``module:attribute``, and it is
called with the options in ``defense-options``. What it does not override is what a client without a defense does; only
`Defense.adapt` has no default. Everybody who needs to know something of a defense asks through this interface: clients,
evaluation, checks of settings, figures, claims and report.

Nothing here imports PyTorch: settings are checked, and results are analysed, without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from fedmeta_flwr.data.split import Holdings
    from fedmeta_flwr.learning.evaluation import Adapt
    from fedmeta_flwr.learning.local_training import LocalTraining
    from fedmeta_flwr.learning.matching_network import MatchingNetwork
    from fedmeta_flwr.learning.meta_learning import InnerLoop
    from fedmeta_flwr.learning.models import Classifier


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
        Length of a feature vector to a new attention.
    """

    way: int
    steps: int
    lr: float
    new_attention: Callable[[int], nn.Module]


@dataclass(frozen=True)
class LocalContext:
    """What one client has to work with.

    Attributes
    ----------
    training : LocalTraining
        How a client without a defense trains in a round: with the fully-connected head.
    holdings : Holdings
        The client's own classes.
    inner : InnerLoop
        Fine-tuning of the model with its head on the support set of an evaluation episode.
    head_lr : float
        Learning rate of local steps with the head.
    matching : MatchingSettings
        How a client matches features.
    """

    training: LocalTraining
    holdings: Holdings
    inner: InnerLoop
    head_lr: float
    matching: MatchingSettings

    def for_local_steps(self, training: LocalTraining, name: str) -> LocalTraining:
        """Return a training with random streams of its own, for local steps outside of any round."""
        return replace(training, purpose=f"local-{name}-episode")


@dataclass(frozen=True)
class LocalSteps:
    """Training on a client's own classes before it uses the model, outside of any round."""

    training: LocalTraining
    steps: int
    lr: float


@dataclass(frozen=True)
class StepCurve:
    """What is measured along the steps of a defense.

    Attributes
    ----------
    name : str
        As the setting ``step-curves`` names it, with dashes.
    label : str
        What a figure calls it.
    steps : str
        What a step is, in words and in the plural.
    is_of_episode : bool
        Whether the steps are those of fine-tuning on an episode's support set, not local steps before it.
    """

    name: str
    label: str
    steps: str
    is_of_episode: bool = False

    @property
    def key(self) -> str:
        """The name as results have it, with underscores."""
        return self.name.replace("-", "_")


class Defense(ABC):
    """What a client does with the global model.

    Attributes
    ----------
    label : str
        What report, claims and figures call it, in few words; empty where nothing is done about a backdoor.
    has_head : bool
        Whether the shared model is a `Classifier`, with its fully-connected head.
    private : str
        What a client keeps for itself from round to round, in words and with an article; empty: nothing.
    curve : StepCurve or None
        What is measured along its steps; None where it takes none.
    """

    label: str = ""
    has_head: bool = True
    private: str = ""
    curve: StepCurve | None = None

    @property
    def remark(self) -> str:
        """What the caption of a figure says of accuracies under the defense; empty: nothing."""
        return f"defense: {self.label}" if self.label else ""

    def remedy(self) -> Defense:
        """Return what a client of such a run can do about a backdoor, for report and claims: mostly, this."""
        return self

    def classes_per_step(self, *, way: int, meta_batch_size: int, matching_way: int) -> int:
        """Return the classes in all episodes of an outer step of a round, as `training` has them."""
        return way * meta_batch_size

    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        """Return how many classes a client must hold beyond the `way` that all hold; 0: no more than these.

        The adversary takes part in the training only.
        """
        return 0

    def model(self, classifier: Classifier, matching: MatchingSettings) -> nn.Module:
        """Return what a client trains in a round, given a classifier with the weights that the run starts from."""
        return classifier

    def shared_part(self, model: Any) -> nn.Module:
        """Return the part of `model` that is exchanged, which may be all of it."""
        shared: nn.Module = model
        return shared

    def private_part(self, model: Any) -> nn.Module | None:
        """Return the part of `model` that a client keeps from round to round; None where there is none."""
        return None

    def training(self, context: LocalContext) -> LocalTraining:
        """Return how a client trains in a round."""
        return context.training

    def network(self, model: Any, context: LocalContext) -> nn.Module:
        """Return what a client classifies with; a copy of the `model` where local steps will change it."""
        network: nn.Module = model
        return network

    def local_steps(self, context: LocalContext) -> LocalSteps | None:
        """Return how `network` is trained before it is used; None: it is not."""
        return None

    @abstractmethod
    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Return how a `network`, after its local steps, adapts to the support set of an episode.

        Returns
        -------
        Adapt
            A function of a support set (`Batch`) that returns, in a sequence of length 1, a function of images (rows,
            channels, height, width) that returns logits or log-probabilities (rows, way). Other than that it must
            leave the network as it is, and it predicts in evaluation mode.
        """

    def compared(self, network: Any) -> MatchingNetwork | None:
        """Return the matching network whose features the report shows; None where the defense compares none."""
        return None

    def stages(self, model: Any, context: LocalContext, steps: Sequence[int]) -> Iterator[tuple[int, nn.Module]]:
        """Train a network locally, and yield each listed number of steps when it is reached, with the network.

        It is one and the same network, to be used before the next number is asked for; numbers are ascending, from 0.
        """
        network, local = self.network(model, context), self.local_steps(context)
        if local is None:
            raise ValueError(f"{self.label or 'no defense'}: expected a defense with local steps, found one without")
        for step in local.training.train_in_stages(network, context.holdings, steps=steps, lr=local.lr):
            yield step, network

    def in_use(self, model: Any, context: LocalContext) -> nn.Module:
        """Return the network with which a client classifies, after its local steps."""
        local = self.local_steps(context)
        if local is None:
            return self.network(model, context)
        ((_, network),) = self.stages(model, context, [local.steps])
        return network
