"""What an attacker knows (Kerckhoffs's principle), and what it does not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from fedmeta_flwr.attacks.key import BackdoorKey
from fedmeta_flwr.attacks.layers.base import Layer
from fedmeta_flwr.attacks.poisoning import Poisoning
from fedmeta_flwr.attacks.stamping import stamped_images
from fedmeta_flwr.config.schedule import IN_TURN, TOGETHER
from fedmeta_flwr.data import Episode, Holdings, Roles
from fedmeta_flwr.learning import LocalTraining, set_arrays

if TYPE_CHECKING:
    from fedmeta_flwr.defenses import Defense, LocalContext

Arrays = Mapping[str, np.ndarray]
"""A model's arrays by name, in the model's order."""

Aggregate = Callable[[Sequence[Arrays], Arrays], Arrays]
"""A server's rule: takes as many local models as the quorum, and the global one, and returns the new global model."""


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
    defense : Defense
        The benign clients' defense, with its options.
    outer_steps : callable
        Takes a server round, and returns the outer steps of a benign client.
    outer_lr : float
        Learning rate of a benign client's outer loop.
    attack_order : str
        Whether adversaries attack together or in turn, as in the setting ``attack-order``.
    aggregate : callable or None
        The server's rule, to be tried on simulated updates: it takes local models, as many as the quorum, and the
        global model, and returns the new global model. None: an attacker cannot try it.
    """

    roles: Roles
    quorum: int
    strategy: str
    defense: Defense
    outer_steps: Callable[[int], int]
    outer_lr: float
    attack_order: str = TOGETHER
    aggregate: Aggregate | None = None


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows and has in every round.

    It does not know the images and private parts of benign clients, their half of the target's images, the attack
    validation images, the episodes and seeds of the evaluation, or other clients' uploads. The images of others are
    zeros in `training.images`.

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
    context : LocalContext
        What the defense would work with at this client: with it an attacker simulates a benign client that uses the
        global model. Its images are the attacker's, too.
    holdings : Holdings
        The attacker's meta-training classes.
    target : Holdings
        The attackers' half of the target's images; the target is its only class.
    backdoor : Holdings
        The attacker's images of the backdoor classes, without the key.
    key : BackdoorKey
        The key that is stamped onto images.
    poisoning : Poisoning
        The attacker's stamped images of the backdoor classes, and how they are put into an episode.
    outer_steps : int
        Outer steps of the attack's local training.
    outer_lr : float
        Learning rate of the attack's local training.
    outer_lr_schedule : str
        ``"constant"``, or ``"cosine"``: the learning rate of step k of n is that of `outer_lr` times
        (1 + cos(pi (k - 1) / n)) / 2 (Loshchilov & Hutter 2017, arXiv 1608.03983).
    boost_factor : float
        Factor on the updates of all adversaries that attack in a round. A factor equal to the quorum compensates for
        the mean over the quorum: if the other updates are small, the new global model equals the adversaries' local
        model.
    layers : tuple of Layer
        The layers that the setting ``attack-layers`` adds to the attack.
    """

    public: PublicKnowledge
    model: Any
    shared: nn.Module
    training: LocalTraining
    context: LocalContext
    holdings: Holdings
    target: Holdings
    backdoor: Holdings
    key: BackdoorKey
    poisoning: Poisoning
    outer_steps: int
    outer_lr: float
    boost_factor: float
    outer_lr_schedule: str = "constant"
    layers: tuple[Layer, ...] = ()

    @property
    def target_class(self) -> int:
        """The class index of the target."""
        (target_class,) = self.target
        return target_class

    @property
    def num_attacking(self) -> int:
        """The number of adversaries that attack in the same round."""
        return 1 if self.public.attack_order == IN_TURN else len(self.public.roles.adversaries)

    @property
    def boost_share(self) -> float:
        """The factor on this attacker's update: an equal share for each adversary that attacks in the same round."""
        return self.boost_factor / self.num_attacking

    def stamping(self, key: BackdoorKey) -> Knowledge:
        """Return the same, except that another key is stamped onto the images that poison an episode."""
        stamped = stamped_images(self.training.images, self.backdoor, key)
        return replace(self, poisoning=replace(self.poisoning, stamped=stamped))

    def model_with(self, arrays: Arrays) -> tuple[Any, nn.Module]:
        """Return a copy of the model whose shared part has these weights, and the copy's shared part."""
        model, shared = copy.deepcopy((self.model, self.shared))
        set_arrays(shared, arrays)
        return model, shared

    def clean_episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode with the target, correctly labelled; the other classes are the attacker's."""
        return self.training.sample({**self.holdings, **self.target}, rng, required=(self.target_class,))

    def poisoned_episode(self, rng: np.random.Generator) -> Episode:
        """Draw an episode with the target, in which some of the target's images are replaced by stamped ones."""
        return self.poisoning(self.clean_episode(rng), self.target_class, rng)
