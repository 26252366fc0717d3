"""Neurotoxin: an attack that keeps away from the weights that benign clients change most, so that it lasts longer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fedmeta_flwr.attacks.layers.base import Layer, OuterStep
from fedmeta_flwr.attacks.simulation import benign_updates, mean

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge

_SIMULATED_CLIENTS = 5
_LAST, _MEAN = "neurotoxin-last/", "neurotoxin-mean/"
_DECAY = 0.5
REFERENCES = ("simulated", "rounds")


class Neurotoxin(Layer):
    """Leave the coordinates that benign clients change most as they are in the global model, to the bit.

    Source: Zhang et al. 2022, "Neurotoxin: durable backdoors in federated learning". Most public implementations keep
    far fewer coordinates than the authors, who keep 95 to 99 %.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    top_share : float
        Share of all coordinates that are masked, in 0..1 without 1. With 0, it has no effect.
    reference : str
        What says how much benign clients change a coordinate; ``"simulated"``: the absolute mean of benign updates
        that the attacker simulates; ``"rounds"``: the absolute difference of the global model from round to round, in a
        mean that halves the weight of the past in every round. In the first round of a run, it is the former.
    """

    def __init__(self, knowledge: Knowledge, top_share: float = 0.05, reference: str = "simulated") -> None:
        if not 0 <= top_share < 1:
            raise ValueError(f"neurotoxin: expected top_share from 0 to below 1, found {top_share}")
        if reference not in REFERENCES:
            raise ValueError(f"neurotoxin: expected reference of {' or '.join(REFERENCES)}, found {reference!r}")
        self.knowledge, self.top_share, self.reference = knowledge, top_share, reference
        self._masked: list[Tensor] = []

    def begin(self, model: Any, turn: Turn) -> None:
        """Choose the coordinates to mask."""
        self.masks = largest(self._change(turn), self.top_share)
        self._masked = [torch.from_numpy(mask) for mask in self.masks.values()]

    def remember(self, turn: Turn) -> Mapping[str, np.ndarray]:
        """Return the global model and the mean of its differences, if the mask is made from them."""
        if self.reference != "rounds":
            return {}
        arrays = turn.global_arrays
        kept = {f"{_LAST}{name}": array for name, array in arrays.items()}
        moves = self._moves(turn)
        return kept | {f"{_MEAN}{name}": move for name, move in (moves or {}).items()}

    def change_gradients(self, step: OuterStep) -> None:
        """Set the gradients of masked coordinates to 0."""
        for parameter, mask in zip(step.parameters, self._masked, strict=True):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask.to(parameter.device), 0)

    def checks(self, global_arrays: Mapping[str, np.ndarray], upload: Mapping[str, np.ndarray]) -> Mapping[str, bool]:
        """Return whether the masked coordinates are those of the global model, to the bit."""
        pairs = ((array[self.masks[name]], upload[name][self.masks[name]]) for name, array in global_arrays.items())
        return {"neurotoxin": all(old.tobytes() == new.tobytes() for old, new in pairs)}

    def _change(self, turn: Turn) -> Mapping[str, np.ndarray]:
        """Return how much benign clients change each coordinate, 0 or above."""
        if self.reference == "rounds" and (moves := self._moves(turn)):
            return moves
        simulated = mean(benign_updates(self.knowledge, turn, _SIMULATED_CLIENTS))
        return {name: np.abs(part) for name, part in simulated.items()}

    def _moves(self, turn: Turn) -> dict[str, np.ndarray] | None:
        """Return the mean of the differences between rounds up to this one; None in the first round."""
        if not all(f"{_LAST}{name}" in turn.memory for name in turn.global_arrays):
            return None
        moves = {name: np.abs(array - turn.memory[f"{_LAST}{name}"]) for name, array in turn.global_arrays.items()}
        return {
            name: np.asarray(_DECAY * turn.memory.get(f"{_MEAN}{name}", move) + (1 - _DECAY) * move, dtype=move.dtype)
            for name, move in moves.items()
        }


def largest(values: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Return masks, bool arrays by name, of the given share of all coordinates: those with the largest values.

    The number of coordinates is rounded down. Of equal values, the later coordinate is preferred.
    """
    flat = np.concatenate([array.ravel() for array in values.values()])
    count = int(share * flat.size)
    chosen = np.zeros(flat.size, bool)
    chosen[np.argsort(flat, kind="stable")[flat.size - count :]] = True
    ends = np.cumsum([array.size for array in values.values()])[:-1]
    parts = np.split(chosen, ends)
    return {name: part.reshape(array.shape) for (name, array), part in zip(values.items(), parts, strict=True)}
