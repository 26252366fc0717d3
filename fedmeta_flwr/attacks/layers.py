"""Layers of an attack: parts that can be added to any attack that trains locally, and that compose in sequence.

An objective term or a mask changes gradients, a projection changes parameters after a step, and a boost changes the
upload. They compose like optax's gradient transformations (Hessel et al. 2020); each layer also receives the global
model.
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
        The parameters that are exchanged, with the meta-gradient in ``grad``.
    start : sequence of Tensor
        The values of these parameters in the global model.
    """

    number: int
    parameters: Sequence[nn.Parameter]
    start: Sequence[Tensor]


class Layer:
    """A part of an attack; each method changes nothing unless it is overridden."""

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


class Chain(Layer):
    """Layers in sequence: each receives the result of the previous one.

    Parameters
    ----------
    *layers : Layer
        In the order in which they are applied.
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
    """Upload global + factor * (local - global): the model replacement of Bagdasaryan et al. 2020, equation 3.

    Parameters
    ----------
    factor : float
        Above 0. Each of f colluders uses b / f, where b is the boost of all of them together.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Boost every array."""
        return {name: boost(global_arrays[name], local, self.factor) for name, local in local_arrays.items()}


def boost(global_array: np.ndarray, local_array: np.ndarray, factor: float) -> np.ndarray:
    """Return global + factor * (local - global), in the precision of the arrays."""
    boosted: np.ndarray = global_array + np.asarray(factor, global_array.dtype) * (local_array - global_array)
    return boosted


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
