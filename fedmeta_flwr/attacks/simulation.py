"""What an attacker simulates with its own images: the updates of benign clients, and the mean of a round.

An attacker does not see other clients' uploads. It knows how they train, so it trains as they do, on its own classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedmeta_flwr.learning import get_arrays

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Arrays, Knowledge

_LARGEST_SEED = 2**31


def benign_updates(knowledge: Knowledge, turn: Turn, count: int) -> list[dict[str, np.ndarray]]:
    """Train `count` times as a benign client does in this round, and return the differences to the global model.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows; the simulated clients train on its own classes.
    turn : Turn
        The round; the seeds of the simulated clients are drawn from its random stream.
    count : int
        Number of simulated clients, 1 or above.

    Returns
    -------
    list of dict
        Float32 arrays by name, for each client.
    """
    return [_benign_update(knowledge, turn) for _ in range(count)]


def _benign_update(knowledge: Knowledge, turn: Turn) -> dict[str, np.ndarray]:
    training = replace(
        knowledge.training, seed=int(turn.rng.integers(_LARGEST_SEED)), purpose="simulated-benign-episode"
    )
    model, shared = knowledge.model_with(turn.global_arrays)
    training.train(
        model,
        lambda rng: training.sample(knowledge.holdings, rng),
        server_round=turn.server_round,
        outer_steps=knowledge.public.outer_steps(turn.server_round),
        outer_lr=knowledge.public.outer_lr,
        proximal_mu=0.0,
    )
    return {name: local - turn.global_arrays[name] for name, local in get_arrays(shared).items()}


def norm(update: Mapping[str, np.ndarray]) -> float:
    """Return the Euclidean norm of an update over all arrays, summed in float64."""
    return float(np.sqrt(sum(np.square(part, dtype=np.float64).sum() for part in update.values())))


def mean(updates: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Return the mean of updates, computed in float64, in their dtypes."""
    return {
        name: np.mean([update[name] for update in updates], axis=0, dtype=np.float64).astype(first.dtype)
        for name, first in updates[0].items()
    }
