"""The interface of attacks: what an attacker knows, what it receives in a round, and what it uploads.

A new attack is one class. It derives from `Attack`, or from `LayeredAttack` if it modifies local training. To let
attackers know more, add an attribute to `Knowledge`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.common import Scalar
from torch import nn

from fedmeta_flwr.attacks.key import BackdoorKey
from fedmeta_flwr.attacks.layers import Chain, Layer, around_steps
from fedmeta_flwr.attacks.poisoning import Poisoning
from fedmeta_flwr.config.schedule import IN_TURN
from fedmeta_flwr.data import Episode, Holdings, Roles
from fedmeta_flwr.learning import LocalTraining, get_arrays, set_arrays
from fedmeta_flwr.records import TRAIN_LOSS

Arrays = Mapping[str, np.ndarray]
"""A model's arrays by name, in the model's order."""


@dataclass(frozen=True)
class PublicKnowledge:
    """What everybody knows about the run (Kerckhoffs's principle); it holds no secret of a client or the evaluation.

    Attributes
    ----------
    roles : Roles
        Which clients are adversaries.
    quorum : int
        Number of updates that the server aggregates in a round.
    strategy : str
        The server's rule, as in the setting ``strategy``.
    defense : str
        The benign clients' defense, as in the setting ``defense``.
    outer_steps : callable
        Takes a server round, and returns the outer steps of a benign client.
    outer_lr : float
        Learning rate of a benign client's outer loop.
    attack_order : str
        Whether adversaries attack together or in turn, as in the setting ``attack-order``.
    """

    roles: Roles
    quorum: int
    strategy: str
    defense: str
    outer_steps: Callable[[int], int]
    outer_lr: float
    attack_order: str = "together"


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows and has in every round.

    It does not know the images and private parts of benign clients, their half of the target's images, the attack
    validation images, the episodes and seeds of the evaluation, or other clients' uploads. `training.images` is the
    whole data set, but an attacker uses only `holdings`, `target` and `poisoning.stamped`.

    Attributes
    ----------
    public : PublicKnowledge
        What everybody knows.
    model : Classifier or MatchingNetwork
        The architecture, on the device on which it is trained, with the attacker's initial private part. An attack
        trains copies; see `model_with`.
    shared : torch.nn.Module
        The part of `model` that is exchanged, possibly all of it.
    training : LocalTraining
        How a client meta-trains.
    holdings : Holdings
        The attacker's meta-training classes.
    target : Holdings
        The attackers' half of the target's images; the target is its only class.
    poisoning : Poisoning
        The attacker's stamped images of the backdoor classes, and how they are put into an episode.
    outer_steps : int
        Outer steps of the attack's local training.
    outer_lr : float
        Learning rate of the attack's local training.
    boost_factor : float
        Factor on the updates of all adversaries that attack in a round. A factor equal to the quorum compensates for
        the mean over the quorum: if the other updates are small, the new global model equals the adversaries' local
        model.
    """

    public: PublicKnowledge
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
        """The class index of the target."""
        (target_class,) = self.target
        return target_class

    @property
    def boost_share(self) -> float:
        """The factor on this attacker's update: an equal share for each adversary that attacks in the same round."""
        in_turn = self.public.attack_order == IN_TURN
        return self.boost_factor / (1 if in_turn else len(self.public.roles.adversaries))

    def model_with(self, arrays: Arrays) -> tuple[Any, nn.Module]:
        """Return a copy of the model whose shared part has these weights, and the copy's shared part."""
        model, shared = copy.deepcopy((self.model, self.shared))
        set_arrays(shared, arrays)
        return model, shared

    def poisoned_episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode with the target, in which some of the target's images are replaced by stamped ones."""
        pool = {**self.holdings, **self.target}
        episode = self.training.sample(pool, rng, required=(self.target_class,))
        return self.poisoning(episode, self.target_class, rng)


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
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge

    @abstractmethod
    def local_update(self, turn: Turn) -> Upload:
        """Return the upload of an attack round, which must depend only on `knowledge` and `turn`."""

    def remember(self, turn: Turn) -> Arrays:
        """Return arrays to keep for later rounds, which replace those kept so far; empty: no change.

        It is called in every round in which the attacker is asked, even if it abstains or trains benignly. Built-in
        attacks remember nothing.
        """
        return {}


class LayeredAttack(Attack):
    """Local training on episodes that the attack chooses, with layers that change its gradients, steps and upload.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    *layers : Layer
        In the order in which they are applied.
    """

    def __init__(self, knowledge: Knowledge, *layers: Layer) -> None:
        super().__init__(knowledge)
        self.layer = Chain(*layers)

    def episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode to train on: by default a poisoned one."""
        return self.knowledge.poisoned_episode(rng)

    def local_update(self, turn: Turn) -> Upload:
        """Train on `episode` with the layers, and return the local model after the layers have changed it."""
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
