"""The norm bound: an upload that is no longer than benign ones, or than a multiple of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedmeta_flwr.attacks.layers.base import Layer, OuterStep
from fedmeta_flwr.attacks.layers.boost import boost
from fedmeta_flwr.attacks.simulation import benign_updates, norm

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge

_SIMULATED_CLIENTS = 5
_FIRST_SHORTENING = 1e-7


class NormBound(Layer):
    """Keep the upload within `factor` times the median norm of benign updates that the attacker simulates.

    The bound is on what is uploaded: the local update is bounded by it divided by the boost. The parameters are
    projected onto this ball around the global model every few steps (projected gradient descent), and at the end.

    Source: Sun et al. 2019, "Can you really backdoor federated learning?"; Wang et al. 2020, "Attack of the tails".

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    factor : float
        Largest norm of the upload's difference to the global model, in median norms of a benign update; above 0. With
        infinity, it has no effect.
    every : int
        Steps from one projection to the next, 1 or above.
    """

    def __init__(self, knowledge: Knowledge, factor: float = 2.0, every: int = 10) -> None:
        if not factor > 0 or every < 1:
            raise ValueError(f"norm-bound: expected factor above 0 and every of at least 1, found {factor} and {every}")
        self.knowledge, self.factor, self.every = knowledge, factor, every
        self.radius = np.inf
        """Largest norm of the local update in the present round."""

    def begin(self, model: Any, turn: Turn) -> None:
        """Simulate benign updates, and set the radius."""
        benign = [norm(update) for update in benign_updates(self.knowledge, turn, _SIMULATED_CLIENTS)]
        self.radius = self.factor * float(np.median(benign)) / self.knowledge.boost_share

    def change_parameters(self, step: OuterStep) -> None:
        """Project the parameters onto the ball, after every few steps."""
        if step.number % self.every:
            return
        differences = [parameter - start for parameter, start in zip(step.parameters, step.start, strict=True)]
        length = float(torch.stack([part.double().square().sum() for part in differences]).sum().sqrt())
        if length > self.radius:
            for parameter, start, part in zip(step.parameters, step.start, differences, strict=True):
                parameter.copy_(start + part * (self.radius / length))

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Project what is uploaded; it is not changed within the bound.

        The projection is shortened until the boosted arrays are within the bound in their precision.
        """
        update = {name: local.astype(np.float64) - global_arrays[name] for name, local in local_arrays.items()}
        length, arrays, shorter = norm(update), local_arrays, _FIRST_SHORTENING
        scale = min(1.0, self.radius / length) if length else 1.0
        if scale < 1:
            arrays = _moved(global_arrays, update, scale)
        while self._norm_of_upload(global_arrays, arrays) > self.radius * self.knowledge.boost_share:
            scale, shorter = scale * max(1 - shorter, 0), 2 * shorter
            arrays = _moved(global_arrays, update, scale)
        return arrays

    def checks(self, global_arrays: Mapping[str, np.ndarray], upload: Mapping[str, np.ndarray]) -> Mapping[str, bool]:
        """Return whether the upload is within the bound."""
        length = norm({name: array.astype(np.float64) - global_arrays[name] for name, array in upload.items()})
        return {"norm-bound": bool(length <= self.radius * self.knowledge.boost_share)}

    def _norm_of_upload(self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]) -> float:
        """Return the norm of the difference to the global model after the boost, in the precision of the arrays."""
        share = self.knowledge.boost_share
        return norm(
            {
                name: boost(global_arrays[name], local, share).astype(np.float64) - global_arrays[name]
                for name, local in local_arrays.items()
            }
        )


def _moved(
    global_arrays: Mapping[str, np.ndarray], update: Mapping[str, np.ndarray], scale: float
) -> dict[str, np.ndarray]:
    return {name: np.asarray(array + scale * update[name], dtype=array.dtype) for name, array in global_arrays.items()}
