"""Attacks that only combine simulated benign updates: they spoil the global model, and plant no backdoor.

They are controls: a robust rule that does not withstand them is not robust. An attacker does not see other clients'
uploads, so the updates that it combines are those that it simulates on its own classes. Of several colluders, each
combines its own.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from fedmeta_flwr.attacks.base import Attack, Turn, Upload
from fedmeta_flwr.attacks.knowledge import Arrays, Knowledge
from fedmeta_flwr.attacks.layers import Chain
from fedmeta_flwr.attacks.simulation import benign_updates, mean, norm
from fedmeta_flwr.records import TRAIN_LOSS

DIRECTIONS = ("std", "unit", "sign")


class UntargetedAttack(Attack):
    """Simulate benign updates, and upload the global model plus a combination of them, without a boost.

    Layers may change the upload. Those that change gradients or parameters have no effect, because nothing is trained.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    simulated_clients : int
        Number of updates that are simulated; 0: the quorum, but at least `fewest_clients`.

    Attributes
    ----------
    fewest_clients : int
        Number of updates that it needs.
    """

    is_boosted = False
    fewest_clients = 1

    def __init__(self, knowledge: Knowledge, simulated_clients: int = 0) -> None:
        super().__init__(knowledge)
        count = simulated_clients or max(knowledge.public.quorum, self.fewest_clients)
        if count < self.fewest_clients:
            raise ValueError(
                f"simulated_clients: expected at least {self.fewest_clients}, or 0 for the quorum, "
                f"found {simulated_clients}"
            )
        self.simulated_clients = count
        self.layer = Chain(*knowledge.layers)

    @abstractmethod
    def combine(self, updates: Sequence[Arrays], turn: Turn) -> Arrays:
        """Return the update to upload, given simulated benign ones (differences to the global model)."""

    def local_update(self, turn: Turn) -> Upload:
        """Return the global model plus `combine`; it claims as many images as a benign client, and a loss of 0."""
        knowledge, start = self.knowledge, turn.global_arrays
        model, _ = knowledge.model_with(start)
        self.layer.begin(model, turn)
        update = self.combine(benign_updates(knowledge, turn, self.simulated_clients), turn)
        arrays = self.layer.change_upload(start, moved(start, update))
        examples = knowledge.training.num_examples(knowledge.public.outer_steps(turn.server_round))
        return Upload(arrays, examples, {TRAIN_LOSS: 0.0})

    def remember(self, turn: Turn) -> Arrays:
        """Return what the layers remember."""
        return self.layer.remember(turn)


class InnerProductManipulation(UntargetedAttack):
    """Upload the mean of benign updates, multiplied by -tau.

    Source: Xie, Koyejo & Gupta 2019, "Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation".

    Parameters
    ----------
    knowledge, simulated_clients
        As in `UntargetedAttack`.
    tau : float
        Above 0. A small one (0.1) passes rules that select by distance; a large one turns the mean round.
    """

    def __init__(self, knowledge: Knowledge, tau: float = 2.0, simulated_clients: int = 0) -> None:
        if not 0 < tau < np.inf:
            raise ValueError(f"inner-product-manipulation: expected tau above 0, found {tau}")
        super().__init__(knowledge, simulated_clients)
        self.tau = tau

    def combine(self, updates: Sequence[Arrays], turn: Turn) -> Arrays:
        """Return -tau times the mean."""
        return {name: np.asarray(-self.tau * part, dtype=part.dtype) for name, part in mean(updates).items()}


class MinMax(UntargetedAttack):
    """Upload the mean of benign updates minus g times a deviation, as far as distances between benign updates allow.

    The factor g is the largest one for which the largest distance of the upload to a benign update is at most the
    largest distance between two benign updates.

    Source: Shejwalkar & Houmansadr 2021, "Manipulating the Byzantine". They search for g by bisection. Here it is the
    smallest root of one quadratic equation for each benign update, which is the same number.

    Parameters
    ----------
    knowledge, simulated_clients
        As in `UntargetedAttack`; at least 2 updates.
    direction : str
        The deviation; ``"std"``: the standard deviation of each coordinate; ``"unit"``: the mean divided by its norm;
        ``"sign"``: the sign of the mean.
    """

    fewest_clients = 2

    def __init__(self, knowledge: Knowledge, direction: str = "std", simulated_clients: int = 0) -> None:
        if direction not in DIRECTIONS:
            raise ValueError(f"min-max: expected direction of {' or '.join(DIRECTIONS)}, found {direction!r}")
        super().__init__(knowledge, simulated_clients)
        self.direction = direction

    def combine(self, updates: Sequence[Arrays], turn: Turn) -> Arrays:
        """Return mean - g * deviation."""
        dev = self._deviation(updates)
        return minus(mean(updates), dev, largest_factor(updates, dev))

    def _deviation(self, updates: Sequence[Arrays]) -> Arrays:
        if self.direction == "std":
            return deviation(updates)
        middle = mean(updates)
        if self.direction == "sign":
            return {name: np.sign(part) for name, part in middle.items()}
        length = norm(middle) or 1.0
        return {name: part / length for name, part in middle.items()}


def deviation(updates: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Return the standard deviation of each coordinate over at least 2 updates, estimated with n - 1, in float64."""
    return {name: np.std([update[name] for update in updates], axis=0, ddof=1, dtype=np.float64) for name in updates[0]}


def largest_factor(updates: Sequence[Arrays], dev: Arrays) -> float:
    """Return the largest g for which mean - g * dev is within the largest distance between two updates of each update.

    Parameters
    ----------
    updates : sequence of mapping
        Benign updates.
    dev : mapping of str to np.ndarray
        The deviation; if it is 0, so is g.
    """
    flat = np.stack([_flat(update) for update in updates])
    direction, away = _flat(dev), flat.mean(axis=0) - flat
    distances = [float(np.linalg.norm(one - other)) for one in flat for other in flat]
    square = float(direction @ direction)
    if not square:
        return 0.0
    # |away_i - g * direction| <= diameter, for each update i: g is at most the larger root of a quadratic equation.
    along = away @ direction
    inside = max(distances) ** 2 - (away**2).sum(axis=1)
    roots = (along + np.sqrt(along**2 + square * np.maximum(inside, 0))) / square
    return max(float(roots.min()), 0.0)


def minus(middle: Arrays, dev: Arrays, factor: float) -> dict[str, np.ndarray]:
    """Return middle - factor * dev, in the dtypes of `middle`."""
    return {name: np.asarray(part - factor * dev[name], dtype=part.dtype) for name, part in middle.items()}


def moved(start: Arrays, update: Arrays) -> dict[str, np.ndarray]:
    """Return start + update, in the dtypes of `start`."""
    return {name: np.asarray(array + update[name], dtype=array.dtype) for name, array in start.items()}


def _flat(arrays: Arrays) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()]).astype(np.float64)
