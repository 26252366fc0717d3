"""The interface of layers: parts that can be added to any attack that trains locally, and that compose in sequence.

An objective term or a mask changes gradients, a projection changes parameters after a step, and a boost changes the
upload. They compose like optax's gradient transformations (Hessel et al. 2020); each layer also receives the global
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn


@dataclass(frozen=True)
class OuterStep:
    """An outer step of the attack's local training.

    Attributes
    ----------
    number : int
        From 1.
    parameters : sequence of torch.nn.Parameter
        The parameters that are exchanged, with the meta-gradient in ``grad``.
    start : sequence of Tensor
        The values of these parameters in the global model.
    """

    number: int
    parameters: Sequence[nn.Parameter]
    start: Sequence[Tensor]


class Layer:
    """A part of an attack; each method changes nothing unless it is overridden."""

    def begin(self, model: Any, turn: Turn) -> None:
        """Prepare for the local training of a round.

        A layer is used for several rounds: what it keeps for one of them is set here.

        Parameters
        ----------
        model : Classifier or MatchingNetwork
            The attacker's model, which holds the global model now and is trained next.
        turn : Turn
            The round, and the random stream from which all draws must come.
        """

    def remember(self, turn: Turn) -> Mapping[str, np.ndarray]:
        """Return arrays to keep for later rounds, under names of its own; see `Attack.remember`."""
        return {}

    def change_gradients(self, step: OuterStep) -> None:
        """Change the gradients in place before the optimiser's step.

        For example, an objective term adds its gradient, and a mask sets gradients to zero. With either built-in
        optimiser, a weight whose gradient is 0 in every step keeps its value in the global model.
        """

    def change_parameters(self, step: OuterStep) -> None:
        """Change the parameters in place after the optimiser's step, such as by a projection; records no gradient."""

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Return the arrays to upload instead of the local ones, with the same names, shapes and types."""
        return local_arrays

    def checks(self, global_arrays: Mapping[str, np.ndarray], upload: Mapping[str, np.ndarray]) -> Mapping[str, bool]:
        """Return what the layer promises of an upload of the present round, each by a name, and whether it holds.

        It is computed from the upload as it is sent, after the boost; see `Attack.checks`.
        """
        return {}


class Chain(Layer):
    """Layers in sequence: each receives the result of the previous one.

    Parameters
    ----------
    *layers : Layer
        In the order in which they are applied.
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def begin(self, model: Any, turn: Turn) -> None:
        """Let each layer prepare."""
        for layer in self.layers:
            layer.begin(model, turn)

    def remember(self, turn: Turn) -> Mapping[str, np.ndarray]:
        """Return what all layers remember."""
        return {name: array for layer in self.layers for name, array in layer.remember(turn).items()}

    def change_gradients(self, step: OuterStep) -> None:
        """Let each layer change the gradients."""
        for layer in self.layers:
            layer.change_gradients(step)

    def change_parameters(self, step: OuterStep) -> None:
        """Let each layer change the parameters."""
        for layer in self.layers:
            layer.change_parameters(step)

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Let each layer change the upload."""
        for layer in self.layers:
            local_arrays = layer.change_upload(global_arrays, local_arrays)
        return local_arrays

    def checks(self, global_arrays: Mapping[str, np.ndarray], upload: Mapping[str, np.ndarray]) -> Mapping[str, bool]:
        """Return what all layers promise; a promise that two layers make must hold for both."""
        kept: dict[str, bool] = {}
        for layer in self.layers:
            for name, holds in layer.checks(global_arrays, upload).items():
                kept[name] = holds and kept.get(name, True)
        return kept


def around_steps(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], layer: Layer) -> None:
    """Call a layer before and after every step of an optimiser.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        An optimiser that has not made a step yet.
    parameters : sequence of torch.nn.Parameter
        The parameters that the layer receives, with the values of the global model.
    layer : Layer
        The layer.
    """
    start = [parameter.detach().clone() for parameter in parameters]
    done = 0

    def before(*_: Any) -> None:
        layer.change_gradients(OuterStep(done + 1, parameters, start))

    def after(*_: Any) -> None:
        nonlocal done
        done += 1
        with torch.no_grad():
            layer.change_parameters(OuterStep(done, parameters, start))

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
