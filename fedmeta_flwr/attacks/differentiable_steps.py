"""Local steps of a matching network as a function of the weights that it starts from, for second-order attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from fedmeta_flwr.learning import Batch, MatchingNetwork, query_of, support_of

if TYPE_CHECKING:
    from fedmeta_flwr.data import Episode

Parameters = Mapping[str, Tensor]
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # PyTorch's defaults


def differentiable_stages(
    network: MatchingNetwork,
    start: Parameters,
    draw: Callable[[], Episode],
    *,
    steps: Sequence[int],
    lr: float,
    optimizer: str,
    batch_norm: str,
) -> Iterator[dict[str, Tensor]]:
    """Train by matching, and yield the parameters at each listed number of steps, with their gradients.

    Use it within `fedmeta_flwr.learning.plain`, because the fused kernels have no gradient of a gradient.

    Parameters
    ----------
    network : MatchingNetwork
        The architecture; its own parameters are not used.
    start : mapping of str to Tensor
        All parameters by name; tensors with a gradient.
    draw : callable
        Draws the episode of a step.
    steps : sequence of int
        Ascending, 0 or above.
    lr : float
        Learning rate.
    optimizer : str
        ``"adam"`` or ``"sgd"``, with PyTorch's other defaults.
    batch_norm : str
        As in `MatchingNetwork.forward`.
    """
    parameters = dict(start)
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in parameters.items()}
    done = 0
    for wanted in steps:
        for number in range(done + 1, wanted + 1):
            loss = _loss(network, parameters, draw(), batch_norm)
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
            for (name, value), gradient in zip(list(parameters.items()), gradients, strict=True):
                if optimizer == "sgd":
                    parameters[name] = value - lr * gradient
                else:
                    moments[name], move = _adam(moments[name], gradient, number)
                    parameters[name] = value - lr * move
        done = wanted
        yield dict(parameters)


def log_probabilities(
    network: MatchingNetwork, parameters: Parameters, support: Batch, queries: Tensor, batch_norm: str
) -> Tensor:
    """Return the logarithm of each label's probability (rows, way) with the given parameters."""
    predicted: Tensor = functional_call(network, dict(parameters), (support, queries, batch_norm))
    return predicted


def _loss(network: MatchingNetwork, parameters: Parameters, episode: Episode, batch_norm: str) -> Tensor:
    device = next(iter(parameters.values())).device
    query = query_of(episode, device)
    predicted = log_probabilities(network, parameters, support_of(episode, device), query.images, batch_norm)
    return functional.nll_loss(predicted, query.labels)


def _adam(moments: tuple[Tensor, Tensor], gradient: Tensor, number: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the moments after a step of Adam, and the step for a learning rate of 1."""
    first = _BETAS[0] * moments[0] + (1 - _BETAS[0]) * gradient
    second = _BETAS[1] * moments[1] + (1 - _BETAS[1]) * gradient.square()
    scale = (second / (1 - _BETAS[1] ** number) + _EPSILON**4).sqrt()  # a root has no gradient at 0
    return (first, second), first / (1 - _BETAS[0] ** number) / (scale + _EPSILON)
