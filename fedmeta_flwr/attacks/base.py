"""The family of attacks: what an attacker knows, what it is given in a round, and what it uploads.

A new attack is one class that derives from `Attack`, or from `LayeredAttack` where it is local training with something
added. What more an attacker may come to know is one more attribute of `Knowledge`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.common import Scalar
from torch import nn

from fedmeta_flwr.attacks.layers import Chain, Layer, around_steps
from fedmeta_flwr.attacks.poisoning import Poisoning
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.data.roles import Holdings, Roles
from fedmeta_flwr.learning.local_training import LocalTraining
from fedmeta_flwr.learning.models import get_arrays, set_arrays
from fedmeta_flwr.records.entries import TRAIN_LOSS

Arrays = Mapping[str, np.ndarray]
"""A model's arrays by name, in the model's order."""


@dataclass(frozen=True)
class Federation:
    """What everybody knows of the run (Kerckhoffs): nothing in it is a secret of a client or of the evaluation.

    Attributes
    ----------
    roles : Roles
        Who is a client, and who an adversary.
    quorum : int
        Updates that the server aggregates in a round.
    strategy : str
        The server's rule, as the setting names it.
    defense : str
        What benign clients do against attacks, as the setting names it.
    outer_steps : callable
        Server round to the outer steps of a benign client.
    outer_lr : float
        Learning rate of a benign client's outer loop.
    """

    roles: Roles
    quorum: int
    strategy: str
    defense: str
    outer_steps: Callable[[int], int]
    outer_lr: float


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows and has at any time.

    It does not know: images of benign clients, their private parts, the other half of the target, attack validation
    images, episodes and seeds of the evaluation, and other clients' uploads. `training.images` is the whole data set,
    of which an attacker uses `holdings`, `target` and `stamped` only.

    Attributes
    ----------
    federation : Federation
        What everybody knows.
    model : Classifier or MatchingNetwork
        The architecture, on the device on which it is trained, with the private part that an attacker begins with; an
        attack trains copies, see `model_with`.
    shared : torch.nn.Module
        The part of `model` that is exchanged, which may be all of it.
    training : LocalTraining
        How a client meta-trains.
    holdings : Holdings
        The attacker's own meta-training classes.
    target : Holdings
        The attackers' half of the target class, which is its only class.
    poisoning : Poisoning
        The attacker's stamped images of backdoor classes, and how they get into an episode.
    outer_steps : int
        Outer steps of the attack's local training.
    outer_lr : float
        Learning rate of the attack's local training.
    boost_factor : float
        Factor on the updates of all adversaries together. A factor equal to the quorum makes up for the mean over it:
        if the other updates are small, the new global model is the adversaries' local one.
    """

    federation: Federation
    model: Any
    shared: nn.Module
    training: LocalTraining
    holdings: Holdings
    target: Holdings
    poisoning: Poisoning
    outer_steps: int
    outer_lr: float
    boost_factor: float

    @property
    def target_class(self) -> int:
        """Return the class index of the target."""
        (target_class,) = self.target
        return target_class

    @property
    def boost_share(self) -> float:
        """Return the factor on this attacker's update: all colluders attack in the same round, each with its share."""
        return self.boost_factor / len(self.federation.roles.adversaries)

    def model_with(self, arrays: Arrays) -> tuple[Any, nn.Module]:
        """Return a new model whose shared part has these weights, and that part."""
        model, shared = copy.deepcopy((self.model, self.shared))
        set_arrays(shared, arrays)
        return model, shared

    def clean_episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode as a benign client does: of the attacker's own classes."""
        return self.training.sample(self.holdings, rng)

    def poisoned_episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode of own classes and the target in which stamped images pass for the target."""
        pool = {**self.holdings, **self.target}
        episode = self.training.sample(pool, rng, required=(self.target_class,))
        return self.poisoning(episode, self.target_class, rng)


@dataclass(frozen=True)
class Turn:
    """What an attacker is given in a round.

    Attributes
    ----------
    server_round : int
        From 1; names the random streams of local training.
    global_arrays : mapping of str to np.ndarray
        The global model G_t, float32 arrays by name.
    rng : numpy.random.Generator
        Source of whatever else the attack draws; the same in a round that is asked for again.
    memory : mapping of str to np.ndarray
        What `Attack.remember` returned last before this round; empty at first.
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
        In the place of a local model: the names, shapes and types of the global arrays.
    num_examples : int
        Images that it claims to have seen.
    metrics : dict
        ``train-loss`` among them.
    """

    arrays: Arrays
    num_examples: int
    metrics: dict[str, Scalar]


class Attack(ABC):
    """An attack: owns what an adversary does in a round of attack.

    The built-in attacks and custom ones are called with `knowledge`, and with the options of the setting
    ``attack-options`` as keyword arguments.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge

    @abstractmethod
    def local_update(self, turn: Turn) -> Upload:
        """Return the upload of a round of attack: a function of `knowledge` and `turn` only."""

    def remember(self, turn: Turn) -> Arrays:
        """Return what to keep until the attacker is asked again, in the place of what was kept; empty: no change.

        It is asked in every round, also where it abstains or trains benignly: it is sent each G_t. Built-in attacks
        remember nothing.
        """
        return {}


class LayeredAttack(Attack):
    """Local training on episodes of the attack's choice, under layers that change its gradients, steps and upload.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    *layers : Layer
        In the order in which they act.
    """

    def __init__(self, knowledge: Knowledge, *layers: Layer) -> None:
        super().__init__(knowledge)
        self.layer = Chain(*layers)

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode of the objective: a poisoned one."""
        return self.knowledge.poisoned_episode(rng)

    def local_update(self, turn: Turn) -> Upload:
        """Train on `episode` under the layers, and return the local model as the layers change it."""
        knowledge = self.knowledge
        model, shared = knowledge.model_with(turn.global_arrays)
        loss = knowledge.training.train(
            model,
            self.episode,
            server_round=turn.server_round,
            outer_steps=knowledge.outer_steps,
            outer_lr=knowledge.outer_lr,
            proximal_mu=0.0,
            prepare=lambda optimizer: around_steps(optimizer, list(shared.parameters()), self.layer),
        )
        arrays = self.layer.change_upload(turn.global_arrays, get_arrays(shared))
        return Upload(arrays, knowledge.training.num_examples(knowledge.outer_steps), {TRAIN_LOSS: loss})
