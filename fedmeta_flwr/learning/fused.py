"""The parts of a convolution block, each in one pass where plain PyTorch takes many; for CPUs.

A plain block spends most of its time on moving memory: its normalisation, rectifier and pooling read and write all
activations a dozen times each way, and a strided convolution is slow backwards. Here normalisation, pooling and
rectifier are one function, with two passes for the statistics and one for the result, and a strided convolution is a
matrix product. Results are those of the plain functions within rounding, with ties of the pooling decided alike.

The plain functions take over within `plain`, on GPUs, without Numba, and for the gradient of a gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedmeta_flwr.learning.norm import EPSILON, normalise

try:
    from fedmeta_flwr.learning import kernels
except ImportError:  # a platform without Numba
    kernels = None  # type: ignore[assignment]

_FEW_CHANNELS = 8
_VALUES_AT_ONCE = 2**19
"""How many values the windows of a few images have, so that they stay in the processor's cache."""

_PLAIN = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """Use plain PyTorch within a block: for gradients of gradients, which it computes faster, and for `torch.func`."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_compiled() -> bool:
    """Return whether this process has Numba, and so the fast path."""
    return kernels is not None


def _is_fused(inputs: Tensor) -> bool:
    return (
        is_compiled()
        and not _PLAIN.get()
        and inputs.device.type == "cpu"
        and inputs.dtype in (torch.float32, torch.float64, torch.bfloat16)
    )


def strided_convolution(inputs: Tensor, weight: Tensor) -> Tensor:
    """Return the 3x3 convolution with stride 2 and a border of zeros.

    Parameters
    ----------
    inputs : Tensor
        Shape (rows, channels, height, width).
    weight : Tensor
        Shape (filters, channels, 3, 3).

    Returns
    -------
    Tensor
        Shape (rows, filters, half the height, half the width), with halves rounded up.
    """
    # bfloat16 is for processors whose convolutions of it are fast in both directions.
    if not _is_fused(inputs) or inputs.shape[1] < _FEW_CHANNELS or inputs.dtype == torch.bfloat16:
        return _plain_convolution(inputs, weight)
    result: Tensor = _StridedConvolution.apply(inputs, weight)
    return result


def _plain_convolution(inputs: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(inputs, weight, stride=2, padding=1)


def normalise_and_rectify(inputs: Tensor, weight: Tensor, bias: Tensor, rows: int, pooling: bool) -> Tensor:
    """Normalise by the first `rows`, as `EpisodeNorm` does; then pool 2x2, if asked for; then rectify.

    Parameters
    ----------
    inputs : Tensor
        Shape (rows, channels, height, width).
    weight, bias : Tensor
        Those of the normalisation, shape (channels,).
    rows : int
        How many inputs the statistics are taken from.
    pooling : bool
        Whether to take the largest value of each window of 2x2; odd lines and columns at the end are left out.

    """
    rows = min(rows, len(inputs))
    if not _is_fused(inputs):
        return _plain_norm(inputs, weight, bias, rows=rows, pooling=pooling)
    result: Tensor = _NormaliseAndRectify.apply(inputs, weight, bias, rows, pooling)
    return result


def _plain_norm(inputs: Tensor, weight: Tensor, bias: Tensor, *, rows: int, pooling: bool) -> Tensor:
    """Do the same in PyTorch. The rectifier after the pooling has the same result for a quarter of the work."""
    hidden = normalise(inputs.to(weight.dtype), weight, bias, rows)
    return functional.relu(functional.max_pool2d(hidden, 2) if pooling else hidden).to(inputs.dtype)


class _StridedConvolution(torch.autograd.Function):
    """PyTorch's convolution, whose gradients are matrix products with all 3x3 windows."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _plain_convolution(inputs, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _plain_gradients(ctx, _plain_convolution, [inputs, weight], gradient)
        images, slopes = _channels_last(inputs), _channels_last(gradient)
        filters, channels = weight.shape[:2]
        matrix = _channels_last(weight).flatten(1)
        to_images, to_matrix = torch.empty_like(images), torch.zeros_like(matrix.T)
        at_once = max(1, _VALUES_AT_ONCE // (matrix.shape[1] * slopes[0, ..., 0].numel()))
        for some_images, some_slopes, result in zip(
            *(torch.split(tensor, at_once) for tensor in (images, slopes, to_images)), strict=True
        ):
            windows = images.new_empty(*some_slopes.shape[:3], 3, 3, channels)
            rows = some_slopes.flatten(0, 2)
            kernels.gather_windows(some_images.numpy(), windows.numpy())
            to_matrix.addmm_(windows.view(len(rows), -1).T, rows)
            torch.mm(rows, matrix, out=windows.view(len(rows), -1))
            kernels.scatter_windows(windows.numpy(), result.numpy())
        to_weight = to_matrix.T.contiguous().view(filters, 3, 3, channels)
        return _channels_first(to_images), _channels_first(to_weight)


class _NormaliseAndRectify(torch.autograd.Function):
    """As in `fedmeta_flwr.learning.norm`, where g is the gradient with regard to the normalised values."""

    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, rows: int, pooling: bool
    ) -> Tensor:
        images = _channels_last(inputs)
        arrays = _array(images), weight.detach().numpy(), bias.detach().numpy()
        if pooling:
            count, height, width, channels = images.shape
            result = images.new_empty(count, height // 2, width // 2, channels)
            outcome = torch.empty(result.shape, dtype=torch.uint8)
            ctx.statistics = kernels.normalise_pool_and_rectify(*arrays, rows, EPSILON, _array(result), outcome.numpy())
        else:
            outcome = result = torch.empty_like(images)
            ctx.statistics = kernels.normalise_and_rectify(*arrays, rows, EPSILON, _array(result))
        ctx.save_for_backward(inputs, weight, bias, outcome)
        ctx.rows, ctx.pooling = rows, pooling
        return _channels_first(result)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, bias, outcome = ctx.saved_tensors
        if torch.is_grad_enabled():
            function = partial(_plain_norm, rows=ctx.rows, pooling=ctx.pooling)
            return *_plain_gradients(ctx, function, [inputs, weight, bias], gradient), None, None
        arrays = (_array(_channels_last(gradient)), _array(outcome), _array(_channels_last(inputs)))
        to_inputs = torch.empty(arrays[2].shape, dtype=weight.dtype)
        differentiate = kernels.differentiate_pooled if ctx.pooling else kernels.differentiate_rectified
        found = differentiate(*arrays, weight.detach().numpy(), ctx.statistics, ctx.rows, to_inputs.numpy())
        to_weight, to_bias = (torch.from_numpy(numbers).to(weight.dtype) for numbers in found)
        return _channels_first(to_inputs.to(inputs.dtype)), to_weight, to_bias, None, None


def _plain_gradients(
    ctx: Any, function: Callable[..., Tensor], inputs: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of a plain function, which have gradients themselves."""
    # Views, because one input may depend on another, which is not this function's matter.
    views = [tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view, needed in zip(views, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(function(*views), wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed, _ in zip(ctx.needs_input_grad, inputs, strict=False))


def _channels_last(images: Tensor) -> Tensor:
    """Return images (rows, channels, height, width) as (rows, height, width, channels), contiguous."""
    return images.detach().permute(0, 2, 3, 1).contiguous()


def _channels_first(images: Tensor) -> Tensor:
    """Return the inverse of `_channels_last`, in the same memory."""
    return images.permute(0, 3, 1, 2)


def _array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as an array in the same memory; bfloat16 as its bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
