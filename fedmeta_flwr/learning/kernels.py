"""Compiled loops over images whose channels are innermost in memory.

Each array of images has shape (rows, height, width, channels), contiguous, in float32, float64 or bfloat16, the bits of
which it holds as uint16. Numbers per channel are float32 or float64, and sums are float64. The innermost loop runs over
the channels, so that it is vectorised without a change of the order of any sum. A sum over the values of a channel is
taken in the type of `lines` within a line, and in float64 over the lines. `lines` (2, channels) is zero before and
after.

Numba compiles a function for the processor when it is first called, and keeps the result on disk, beside this file or,
where that cannot be written, in the user's cache folder.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numba
import numpy as np

from fedmeta_flwr.learning.brain_floats import narrowed, widened

_F = TypeVar("_F", bound=Callable[..., Any])
_Sums = tuple[np.ndarray, np.ndarray]
_DROPPED = 4  # instead of the winner of a window: the rectifier drops it


def _compiled(function: _F) -> _F:
    """Compile: a product and a sum may be one operation, but no sum is reordered, and NaN stays NaN."""
    compile_: Any = partial(numba.njit, nogil=True, error_model="numpy", fastmath={"contract"})
    try:
        compiled: _F = compile_(cache=True)(function)
    except RuntimeError:  # no folder can be written: compiled anew in each process
        compiled = compile_()(function)
    return compiled


@_compiled
def _move(line: np.ndarray, total: np.ndarray) -> None:
    """Add the sums of a line to the total, and set them to 0."""
    for channel in range(len(total)):
        total[channel] += line[channel]
        line[channel] = 0


@_compiled
def statistics(images: np.ndarray, rows: int, lines: np.ndarray) -> _Sums:
    """Return mean and variance of each channel over the first `rows` images, in two passes."""
    _, height, width, channels = images.shape
    line, mean, variance = lines[0], np.zeros(channels), np.zeros(channels)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    line[channel] += widened(images[row, y, x, channel])
            _move(line, mean)
    mean /= rows * height * width
    center = mean.astype(lines.dtype)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    distance = widened(images[row, y, x, channel]) - center[channel]
                    line[channel] += distance * distance
            _move(line, variance)
    variance /= rows * height * width
    return mean, variance


@_compiled
def rectify(images: np.ndarray, scale: np.ndarray, shift: np.ndarray, result: np.ndarray) -> None:
    """Set `result` to max(0, images * scale + shift); NaN stays NaN."""
    rows, height, width, channels = images.shape
    zero, kind = scale.dtype.type(0), result.dtype.type(0)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    value = widened(images[row, y, x, channel]) * scale[channel] + shift[channel]
                    result[row, y, x, channel] = narrowed(zero if value <= zero else value, kind)


@_compiled
def sum_rectified(gradient: np.ndarray, result: np.ndarray, images: np.ndarray, lines: np.ndarray) -> _Sums:
    """Return the sums over each channel of the gradient with regard to the argument of `rectify`, and of it * images.

    `gradient` is with regard to `result`.
    """
    rows, height, width, channels = images.shape
    line, product_line, zero = lines[0], lines[1], lines.dtype.type(0)
    total, product = np.zeros(channels), np.zeros(channels)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    slope = widened(gradient[row, y, x, channel])
                    passed = zero if widened(result[row, y, x, channel]) <= zero else slope
                    line[channel] += passed
                    product_line[channel] += passed * widened(images[row, y, x, channel])
            _move(line, total)
            _move(product_line, product)
    return total, product


@_compiled
def differentiate_rectified(gradient: np.ndarray, result: np.ndarray, scale: np.ndarray, to_images: np.ndarray) -> None:
    """Set `to_images` (float32 or float64) to `scale` times the gradient with regard to the argument of `rectify`."""
    rows, height, width, channels = result.shape
    zero = scale.dtype.type(0)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    slope = widened(gradient[row, y, x, channel])
                    passed = zero if widened(result[row, y, x, channel]) <= zero else slope
                    to_images[row, y, x, channel] = passed * scale[channel]


@_compiled
def subtract_affine(
    images: np.ndarray, slope: np.ndarray, offset: np.ndarray, rows: int, to_images: np.ndarray
) -> None:
    """Subtract images * slope + offset from the first `rows` of `to_images`."""
    _, height, width, channels = images.shape
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    affine = widened(images[row, y, x, channel]) * slope[channel] + offset[channel]
                    to_images[row, y, x, channel] -= affine


@_compiled
def pool_and_rectify(
    images: np.ndarray, scale: np.ndarray, shift: np.ndarray, result: np.ndarray, winner: np.ndarray
) -> None:
    """Set `result`, of half the height and width, to the largest of 0 and of images * scale + shift in each 2x2 window.

    `winner` (uint8) becomes the position of the largest value in its window, 0 to 3: of equal ones the first, of NaN
    the last, as in PyTorch's max-pooling; or 4 if no value is above 0.
    """
    rows, height, width, channels = result.shape
    zero, kind = scale.dtype.type(0), result.dtype.type(0)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    factor, addend = scale[channel], shift[channel]
                    best, position = widened(images[row, 2 * y, 2 * x, channel]) * factor + addend, 0
                    value = widened(images[row, 2 * y, 2 * x + 1, channel]) * factor + addend
                    if value > best or np.isnan(value):
                        best, position = value, 1
                    value = widened(images[row, 2 * y + 1, 2 * x, channel]) * factor + addend
                    if value > best or np.isnan(value):
                        best, position = value, 2
                    value = widened(images[row, 2 * y + 1, 2 * x + 1, channel]) * factor + addend
                    if value > best or np.isnan(value):
                        best, position = value, 3
                    result[row, y, x, channel] = narrowed(zero if best <= zero else best, kind)
                    winner[row, y, x, channel] = _DROPPED if best <= zero else position


@_compiled
def sum_pooled(gradient: np.ndarray, winner: np.ndarray, images: np.ndarray, lines: np.ndarray) -> _Sums:
    """Return the same sums as `sum_rectified` for `pool_and_rectify`."""
    rows, height, width, channels = gradient.shape
    line, product_line, zero = lines[0], lines[1], lines.dtype.type(0)
    total, product = np.zeros(channels), np.zeros(channels)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    first = widened(images[row, 2 * y, 2 * x, channel])
                    second = widened(images[row, 2 * y, 2 * x + 1, channel])
                    third = widened(images[row, 2 * y + 1, 2 * x, channel])
                    fourth = widened(images[row, 2 * y + 1, 2 * x + 1, channel])
                    slope, position = widened(gradient[row, y, x, channel]), winner[row, y, x, channel]
                    upper, lower = second if position == 1 else first, fourth if position == 3 else third
                    passed = zero if position == _DROPPED else slope
                    line[channel] += passed
                    product_line[channel] += passed * (lower if position >= 2 else upper)
            _move(line, total)
            _move(product_line, product)
    return total, product


@_compiled
def differentiate_pooled(gradient: np.ndarray, winner: np.ndarray, scale: np.ndarray, to_images: np.ndarray) -> None:
    """Do the same as `differentiate_rectified` for `pool_and_rectify`."""
    rows, height, width, channels = gradient.shape
    zero = to_images.dtype.type(0)
    if to_images.shape[1] % 2:
        to_images[:, -1] = zero
    if to_images.shape[2] % 2:
        to_images[:, :, -1] = zero
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for position in range(4):
                    i, j = 2 * y + position // 2, 2 * x + position % 2
                    for channel in range(channels):
                        value = widened(gradient[row, y, x, channel]) * scale[channel]
                        to_images[row, i, j, channel] = value if winner[row, y, x, channel] == position else zero


@_compiled
def gather_windows(images: np.ndarray, windows: np.ndarray) -> None:
    """Set `windows` to the 3x3 windows of `images`, at every other line and column, with a border of zeros.

    `windows` has shape (rows, half the height, half the width, 3, 3, channels), with halves rounded up.
    """
    _, height, width, channels = images.shape
    rows, lines, columns = windows.shape[:3]
    zero = images.dtype.type(0)
    for row in range(rows):
        for line in range(lines):
            for column in range(columns):
                for i in range(3):
                    y = 2 * line + i - 1
                    for j in range(3):
                        x = 2 * column + j - 1
                        if 0 <= y < height and 0 <= x < width:
                            for channel in range(channels):
                                windows[row, line, column, i, j, channel] = images[row, y, x, channel]
                        else:
                            for channel in range(channels):
                                windows[row, line, column, i, j, channel] = zero


@_compiled
def scatter_windows(windows: np.ndarray, images: np.ndarray) -> None:
    """Set `images` to the sums of the values that `gather_windows` would have taken from the same place."""
    rows, height, width, channels = images.shape
    lines, columns = windows.shape[1:3]
    images[:] = images.dtype.type(0)
    for row in range(rows):
        for line in range(lines):
            for column in range(columns):
                for i in range(3):
                    y = 2 * line + i - 1
                    for j in range(3):
                        x = 2 * column + j - 1
                        if 0 <= y < height and 0 <= x < width:
                            for channel in range(channels):
                                images[row, y, x, channel] += windows[row, line, column, i, j, channel]
