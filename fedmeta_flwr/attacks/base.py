"""The interface of attacks: what an attacker knows, what it receives in a round, and what it uploads.

A new attack is one class. It derives from `Attack`, from `LayeredAttack` if it modifies local training, or from
`UntargetedAttack` if it only combines updates. To let attackers know more, add an attribute to `Knowledge`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from flwr.common import Scalar
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from fedmeta_flwr.attacks.key import BackdoorKey
from fedmeta_flwr.attacks.knowledge import Arrays, Knowledge
from fedmeta_flwr.attacks.layers import Boost, Chain, Layer, around_steps
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import get_arrays
from fedmeta_flwr.records import TRAIN_LOSS

COSINE = "cosine"
"""Value of `Knowledge.outer_lr_schedule`."""


@dataclass(frozen=True)
class Turn:
    """What an attacker receives in a round.

    Attributes
    ----------
    server_round : int
        From 1; it identifies the random streams of local training.
    global_arrays : mapping of str to np.ndarray
        The global model G_t, float32 arrays by name.
    rng : numpy.random.Generator
        Source of all other draws of the attack; the same when a round is repeated.
    memory : mapping of str to np.ndarray
        What `Attack.remember` last returned before this round; empty at first.
    """

    server_round: int
    global_arrays: Arrays
    rng: np.random.Generator
    memory: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """What an attacker sends.

    Attributes
    ----------
    arrays : mapping of str to np.ndarray
        Sent instead of a local model, with the names, shapes and types of the global arrays.
    num_examples : int
        Number of images that it claims to have seen.
    metrics : dict
        The metrics that it reports; they include ``train-loss``.
    key : BackdoorKey or None
        A key that the attack has learnt, with which benign clients stamp images when they evaluate from then on. None:
        they keep the key that they have.
    """

    arrays: Arrays
    num_examples: int
    metrics: dict[str, Scalar]
    key: BackdoorKey | None = None


class Attack(ABC):
    """An attack: what an adversary does in an attack round.

    Built-in and custom attacks are called with `knowledge`, and with the options in the setting ``attack-options`` as
    keyword arguments.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.

    Attributes
    ----------
    is_boosted : bool
        Whether it multiplies its update by the boost; if not, the layers in the setting ``attack-layers`` get a boost
        of 1.
    """

    is_boosted: bool = True

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge

    @property
    def remark(self) -> str:
        """What a user should know about this attack in this federation, before the run; empty: nothing."""
        return ""

    @abstractmethod
    def local_update(self, turn: Turn) -> Upload:
        """Return the upload of an attack round, which must depend only on `knowledge` and `turn`."""

    def remember(self, turn: Turn) -> Arrays:
        """Return arrays to keep for later rounds, which replace those kept so far; empty: no change.

        It is called in every round in which the attacker is asked, even if it abstains or trains benignly. Built-in
        attacks remember nothing.
        """
        return {}

    def checks(self, global_arrays: Arrays, upload: Arrays) -> Mapping[str, bool]:
        """Return what the attack promises of its last upload, each by a name, and whether it holds; for audits."""
        return {}


class LayeredAttack(Attack):
    """Local training on episodes that the attack chooses, with layers that change its gradients, steps and upload.

    The layers of the setting ``attack-layers`` come after its own, and the boost is the last.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    *layers : Layer
        In the order in which they are applied.
    """

    def __init__(self, knowledge: Knowledge, *layers: Layer) -> None:
        super().__init__(knowledge)
        self.layer = Chain(*layers, *knowledge.layers, Boost(knowledge.boost_share))

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode to train on: by default a poisoned one."""
        return self.knowledge.poisoned_episode(rng)

    def local_update(self, turn: Turn) -> Upload:
        """Train on `episode` with the layers, and return the local model after the layers have changed it."""
        knowledge = self.knowledge
        model, shared = knowledge.model_with(turn.global_arrays)
        self.layer.begin(model, turn)
        loss = knowledge.training.train(
            model,
            self.episode,
            server_round=turn.server_round,
            outer_steps=knowledge.outer_steps,
            outer_lr=knowledge.outer_lr,
            proximal_mu=0.0,
            prepare=lambda optimizer: self._prepare(optimizer, shared),
        )
        arrays = self.layer.change_upload(turn.global_arrays, get_arrays(shared))
        return Upload(arrays, knowledge.training.num_examples(knowledge.outer_steps), {TRAIN_LOSS: loss})

    def _prepare(self, optimizer: torch.optim.Optimizer, shared: nn.Module) -> None:
        around_steps(optimizer, list(shared.parameters()), self.layer)
        if self.knowledge.outer_lr_schedule == COSINE:
            schedule = CosineAnnealingLR(optimizer, self.knowledge.outer_steps)
            optimizer.register_step_post_hook(lambda *_: schedule.step())

    def remember(self, turn: Turn) -> Arrays:
        """Return what the layers remember."""
        return self.layer.remember(turn)

    def checks(self, global_arrays: Arrays, upload: Arrays) -> Mapping[str, bool]:
        """Return what the layers promise."""
        return self.layer.checks(global_arrays, upload)
