"""Batch normalisation by statistics of the episode."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
"""Added to a variance."""

_ALL_BUT_CHANNELS = (0, 2, 3)


class EpisodeNorm(nn.Module):
    """Batch normalisation without running statistics.

    Source: Ioffe & Szegedy 2015; without running statistics, as in Finn et al. 2017. Differs: statistics may be taken
    only from the first rows, so that a row after them is normalised independently of the others.

    PyTorch's batch normalisation is not used. If channels are innermost in memory, it adds one number after the other,
    which loses two digits of float32, and its second derivative takes several times as long.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor, reference_rows: int | None = None) -> Tensor:
        """Normalise `inputs` (rows, features, height, width) by the batch or by its first `reference_rows`.

        The result can be differentiated twice.
        """
        return normalise(inputs, self.weight, self.bias, len(inputs) if reference_rows is None else reference_rows)


def normalise(inputs: Tensor, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
    """Do what `EpisodeNorm` does, with its weight and bias, by the first `rows` of `inputs`; `torch.vmap` knows it."""
    normalised: Tensor = _Norm.apply(inputs, weight, bias, rows)[0]
    return normalised


class _Norm(torch.autograd.Function):
    """y = w z + b with z = (x - m) i, where m and i are mean and inverse deviation of a channel's reference values."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        reference = inputs[:rows]
        mean = _mean(reference)
        inverse = _mean((reference - mean).square_()).add_(EPSILON).rsqrt_()
        scale = _channelwise(weight) * inverse
        return torch.addcmul(torch.addcmul(_channelwise(bias), mean, scale, value=-1), inputs, scale), mean, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        images, weight, _, ctx.rows = inputs
        _, mean, inverse = output
        ctx.mark_non_differentiable(mean, inverse)
        ctx.save_for_backward(images, weight, mean, inverse)

    @staticmethod
    def vmap(  # noqa: PLR0917 (torch passes them by position)
        info: Any, in_dims: tuple[int | None, ...], inputs: Tensor, weight: Tensor, bias: Tensor, rows: int
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
        """Normalise several batches as one with all their channels, since each channel is normalised separately."""

        def with_all_channels(tensor: Tensor, batched: int | None, channels: int) -> Tensor:
            several = torch.stack([tensor] * info.batch_size) if batched is None else tensor.movedim(batched, 0)
            return several.movedim(0, channels).flatten(channels, channels + 1)

        images = with_all_channels(inputs, in_dims[0], 1)
        outputs = _Norm.apply(
            images, with_all_channels(weight, in_dims[1], 0), with_all_channels(bias, in_dims[2], 0), rows
        )
        normalised, mean, inverse = (output.unflatten(1, (info.batch_size, -1)) for output in outputs)
        return (normalised, mean, inverse), (1, 1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        differentiate: Callable[..., Any] = _NormGradient.apply if torch.is_grad_enabled() else _norm_gradient
        to_inputs, to_weight, to_bias = differentiate(gradient, *ctx.saved_tensors, ctx.rows)
        return to_inputs, to_weight.flatten(), to_bias.flatten(), None


def _norm_gradient(  # noqa: PLR0917 (torch passes them by position)
    gradient: Tensor, inputs: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result of `_NormGradient`; values per channel have shape (1, channels, 1, 1)."""
    reference = inputs[:rows]
    total = _sum(gradient)
    correlation = torch.addcmul(_sum(gradient * inputs), mean, total, value=-1).mul_(inverse)
    scale = _channelwise(weight) * inverse
    to_inputs = gradient * scale
    scale = scale.mul_(_per_value(reference))
    slope = correlation * inverse * scale
    to_inputs[:rows].sub_(torch.addcmul(scale.mul_(total).addcmul_(mean, slope, value=-1), reference, slope))
    return to_inputs, correlation, total


class _NormGradient(torch.autograd.Function):
    """The gradient as a separate function, which has a gradient itself.

    Sums are over all values of a channel, or (R) over its n reference values. With the gradient g of y, S = sum g and
    D = sum g z: db = S, dw = D, and dx = w i P(g), where P(v) = v - [R] (sum v + z sum v z) / n, since the reference
    values act on all others through m and i.

    Let u, s and t be the gradients of dx, dw and db; U = sum_R u, V = sum_R u z. As z moves by i P^T dx and i by
    -sum_R i^2 z dx / n, theirs are:

    - with respect to g: w i (u - (U + z V) / n) + s z + t,
    - with respect to w: i C, where C = sum u g - (S U + D V) / n,
    - with respect to x: i P(h) - [R] w i^2 z C / n, where h = s g - w i (g V + [R] u D) / n.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        gradients = _norm_gradient(*arguments)
        *tensors, ctx.rows = arguments
        ctx.save_for_backward(*tensors, *gradients[1:])
        return gradients

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor | None, ...]:
        g, inputs, weight, mean, i, sum_gz, sum_g = ctx.saved_tensors
        reference, reference_u = inputs[: ctx.rows], u[: ctx.rows]
        w, per_value = _channelwise(weight), _per_value(reference)
        sum_u = _sum(reference_u)
        sum_uz = (_sum(reference_u * reference) - mean * sum_u) * i
        product = _sum(u * g) - (sum_g * sum_u + sum_gz * sum_uz) * per_value  # C
        of_g, of_u = s - w * i * sum_uz * per_value, -w * i * sum_gz * per_value  # h = of_g g + [R] of_u u
        to_gradient = torch.addcmul(t - w * i * sum_u * per_value - mean * i * of_g, inputs, i * of_g).addcmul_(
            u, w * i
        )
        sum_h, sum_hz = of_g * sum_g + of_u * sum_u, of_g * sum_gz + of_u * sum_uz
        of_x = -(sum_hz + w * i * product) * i.square() * per_value
        to_inputs = g * (i * of_g)
        to_inputs[: ctx.rows].add_(torch.addcmul(-i * sum_h * per_value - mean * of_x, reference, of_x))
        to_inputs[: ctx.rows].addcmul_(reference_u, i * of_u)
        return to_gradient, to_inputs, (i * product).flatten(), None, None, None


def _channelwise(numbers: Tensor) -> Tensor:
    return numbers.view(1, -1, 1, 1)


def _per_value(reference: Tensor) -> float:
    """Return 1 / n."""
    return reference.shape[1] / reference.numel()


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=_ALL_BUT_CHANNELS, keepdim=True)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=_ALL_BUT_CHANNELS, keepdim=True)
