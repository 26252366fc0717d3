"""Batch normalisation by statistics of the episode."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_EPSILON = 1e-5
_ALL_BUT_CHANNELS = (0, 2, 3)


class EpisodeNorm(nn.Module):
    """Batch normalisation without running statistics.

    Source: Ioffe & Szegedy 2015; as in Finn et al. 2017 there are no running statistics. Differs: statistics may
    be taken from the first rows alone, so that a row after them is normalised independently of the others.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor, reference_rows: int | None = None) -> Tensor:
        """Normalise `inputs` (rows, features, height, width) by the batch or by its first `reference_rows`."""
        if reference_rows is None:
            return functional.batch_norm(inputs, None, None, self.weight, self.bias, training=True, eps=_EPSILON)
        normalised: Tensor = _ReferenceNorm.apply(inputs, self.weight, self.bias, reference_rows)
        return normalised


class _ReferenceNorm(torch.autograd.Function):
    """Normalisation by the first rows, with its gradient in few passes over memory.

    Per channel, m and i are the mean and the inverse deviation of the n reference values, and y = w (x - m) i + b. With
    the gradient g of y, S = sum g and D = sum g (x - m) i over all rows: db = S, dw = D, and dx = w i g, less
    w i / n (S + (x - m) i D) in the reference rows, through which x acts on m and i. Where all rows are reference rows
    this is the gradient of batch normalisation.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, reference_rows: int) -> Tensor:
        mean, inverse = _statistics(inputs[:reference_rows])
        ctx.save_for_backward(inputs, weight, mean, inverse)
        ctx.reference_rows = reference_rows
        scale = weight * inverse
        return torch.addcmul(_per_channel(bias - mean * scale), inputs, _per_channel(scale))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        inputs, weight, mean, inverse = ctx.saved_tensors
        reference = inputs[: ctx.reference_rows]
        if torch.is_grad_enabled():  # second order: they depend on the inputs
            mean, inverse = _statistics(reference)
        total = _sum(gradient)
        correlation = (_sum(gradient * inputs) - mean * total) * inverse
        scale = weight * inverse
        slope = scale * inverse * correlation * (len(inverse) / reference.numel())
        offset = scale * total * (len(inverse) / reference.numel()) - mean * slope
        to_inputs = gradient * _per_channel(scale)
        to_inputs[: ctx.reference_rows] -= torch.addcmul(_per_channel(offset), reference, _per_channel(slope))
        return to_inputs, correlation, total, None


def _statistics(reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and inverse deviation; two passes, since torch.var_mean takes ten times as long."""
    mean = reference.mean(dim=_ALL_BUT_CHANNELS)
    variance = (reference - _per_channel(mean)).square().mean(dim=_ALL_BUT_CHANNELS)
    return mean, torch.rsqrt(variance + _EPSILON)


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=_ALL_BUT_CHANNELS)
