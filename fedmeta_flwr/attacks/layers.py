"""Layers of an attack: parts that go with any attack that trains locally, and compose by standing in a row.

An objective term changes gradients, so does a mask; a projection changes parameters after a step; a boost changes the
upload. The composition is that of optax's gradient transformations (Hessel et al. 2020), each part being told of the
global model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OuterStep:
    """An outer step of the attack's local training.

    Attributes
    ----------
    number : int
        From 1.
    parameters : sequence of torch.nn.Parameter
        Those that are exchanged, with the meta-gradient in ``grad``.
    start : sequence of Tensor
        Their values in the global model.
    """

    number: int
    parameters: Sequence[nn.Parameter]
    start: Sequence[Tensor]


class Layer:
    """A part of an attack; each method changes nothing unless it is overridden."""

    def change_gradients(self, step: OuterStep) -> None:
        """Change the gradients in place before the optimiser's step: an objective term adds its own, a mask sets zeros.

        With either built-in optimiser, a weight whose gradient is 0 in every step stays what it is in the global model.
        """

    def change_parameters(self, step: OuterStep) -> None:
        """Change the parameters in place after the optimiser's step, where no gradient is recorded: a projection."""

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Return what is uploaded in the place of the local arrays, with the same names, shapes and types."""
        return local_arrays


class Chain(Layer):
    """Layers in a row: each is handed what the ones before it made.

    Parameters
    ----------
    *layers : Layer
        In the order in which they act.
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

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


class Boost(Layer):
    """Uploads global + factor * (local - global): model replacement of Bagdasaryan et al. 2020, equation 3.

    Parameters
    ----------
    factor : float
        Above 0. The share of one of f colluders is b / f, where b is the boost of all of them together.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Boost every array."""
        return {name: boost(global_arrays[name], local, self.factor) for name, local in local_arrays.items()}


def boost(global_array: np.ndarray, local_array: np.ndarray, factor: float) -> np.ndarray:
    """Return global + factor * (local - global), in the arrays' own precision."""
    boosted: np.ndarray = global_array + np.asarray(factor, global_array.dtype) * (local_array - global_array)
    return boosted


def around_steps(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], layer: Layer) -> None:
    """Let a layer act before and after every step of an optimiser.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        That has made no step yet.
    parameters : sequence of torch.nn.Parameter
        What the layer sees, with the values of the global model.
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
