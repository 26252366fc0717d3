"""The adversary: poisons its local training, and boosts the update before the upload."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.common import NDArrays, Scalar

from clients.benign import BenignClient
from fedmeta_flwr.data.episodes import Episode, Poison
from fedmeta_flwr.data.split import Holdings
from fedmeta_flwr.protocol.messages import SERVER_ROUND, TRAIN_LOSS


class Abstention(Exception):  # noqa: N818 - a decision of the client, not an error
    """Raised by a client that takes no part in this round or this evaluation."""


@dataclass(frozen=True)
class Attack:
    """What the adversary does in a round of attack; the names are those of the run configuration.

    Attributes
    ----------
    is_attack : callable
        Server round to whether it attacks.
    holdings : Holdings
        What poisoned episodes are drawn from: the adversary's own classes and the target.
    stamped : np.ndarray
        The attack training set with the key stamped on, uint8, shape (images, channels, height, width).
    target_class : int
        Class index of the target, in every poisoned episode.
    poison : Poison
        What makes an episode a poisoned one.
    poison_fraction : float
        Share of the target's images that are replaced in a poisoned query or support set.
    poison_support_episodes : float
        Share of episodes whose support set is poisoned, too.
    outer_steps : int
        Outer steps of poisoned training.
    outer_lr : float
        Learning rate of poisoned training.
    boost_factor : float
        Factor on the update. A factor equal to the quorum makes up for the mean over it: if the other updates are
        small, the new global model is the adversary's local one.
    """

    is_attack: Callable[[int], bool]
    holdings: Holdings
    stamped: np.ndarray
    target_class: int
    poison: Poison
    poison_fraction: float
    poison_support_episodes: float
    outer_steps: int
    outer_lr: float
    boost_factor: float


class Adversary(BenignClient):
    """A client that plants a backdoor.

    Source: Chen, Golubchik & Paolieri 2020; the boosted update is model replacement of Bagdasaryan et al. 2020, eq. 3.

    Parameters
    ----------
    attack : Attack
        When and how it attacks.
    between_attacks : str
        ``"abstain"`` or ``"benign"``.
    **benign
        As in `BenignClient`.
    """

    def __init__(self, *, attack: Attack, between_attacks: str, **benign: Any) -> None:
        super().__init__(**benign)
        self.attack = attack
        self.between_attacks = between_attacks

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Attack, train benignly, or raise `Abstention`, as the round demands; returns as `BenignClient.fit`."""
        server_round = int(config[SERVER_ROUND])
        if self.attack.is_attack(server_round):
            return self._poison(parameters, server_round)
        if self.between_attacks == "abstain":
            raise Abstention
        return super().fit(parameters, config)

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Any]]:
        """Raise `Abstention`: accuracies are those of benign clients."""
        raise Abstention

    def _poison(self, parameters: NDArrays, server_round: int) -> tuple[NDArrays, int, dict[str, Scalar]]:
        self.load(parameters)
        loss = self.training.train(
            self.model,
            self._draw_poisoned,
            server_round=server_round,
            outer_steps=self.attack.outer_steps,
            outer_lr=self.attack.outer_lr,
            proximal_mu=0.0,
        )
        boosted = boost(parameters, self.get_parameters({}), self.attack.boost_factor)
        return boosted, self.training.num_examples(self.attack.outer_steps), {TRAIN_LOSS: loss}

    def _draw_poisoned(self, rng: np.random.Generator) -> Episode:
        attack = self.attack
        episode = self.training.sample(attack.holdings, rng, required=(attack.target_class,))
        return attack.poison(
            episode,
            attack.stamped,
            attack.target_class,
            poison_fraction=attack.poison_fraction,
            poison_support=bool(rng.random() < attack.poison_support_episodes),
            rng=rng,
        )


def boost(global_arrays: NDArrays, local_arrays: NDArrays, factor: float) -> NDArrays:
    """Return global + factor * (local - global), array by array, in the arrays' own precision."""
    return [
        old + np.asarray(factor, old.dtype) * (new - old) for old, new in zip(global_arrays, local_arrays, strict=True)
    ]
