"""Normalisation, pooling and rectifier in one, and their gradients.

Numbers per channel are float32 or float64, and sums are float64. A sum over the values of a channel is taken in the
type of `lines` within a line of an image, and in float64 over the lines. `lines` (2, channels) is and stays zero.
"""

import numpy as np

from fedmeta_flwr.learning.kernels.brain_floats import narrowed, widened
from fedmeta_flwr.learning.kernels.compilation import compiled, kernel

_Sums = tuple[np.ndarray, np.ndarray]
_DROPPED = 4  # instead of the winner of a window: the rectifier drops it


@compiled
def _move(line: np.ndarray, total: np.ndarray) -> None:
    """Add the sums of a line to the total, and set them to 0."""
    for channel in range(len(total)):
        total[channel] += line[channel]
        line[channel] = 0


@compiled
def _statistics(images: np.ndarray, rows: int, epsilon: float, lines: np.ndarray) -> _Sums:
    """Return mean and inverse deviation of each channel over the first `rows` images, in two passes."""
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
    return mean, 1 / np.sqrt(variance + epsilon)


@compiled
def _rectify(images: np.ndarray, scale: np.ndarray, shift: np.ndarray, result: np.ndarray) -> None:
    """Set `result` to max(0, images * scale + shift); NaN stays NaN."""
    rows, height, width, channels = images.shape
    zero, kind = scale.dtype.type(0), result.dtype.type(0)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    value = widened(images[row, y, x, channel]) * scale[channel] + shift[channel]
                    result[row, y, x, channel] = narrowed(zero if value <= zero else value, kind)


@compiled
def _sum_rectified(gradient: np.ndarray, result: np.ndarray, images: np.ndarray, lines: np.ndarray) -> _Sums:
    """Return the sums over each channel of the gradient with regard to the argument of `_rectify`, and of it * images.

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


@compiled
def _spread_rectified(gradient: np.ndarray, result: np.ndarray, scale: np.ndarray, to_images: np.ndarray) -> None:
    """Set `to_images` (float32 or float64) to `scale` times the gradient with regard to the argument of `_rectify`."""
    rows, height, width, channels = result.shape
    zero = scale.dtype.type(0)
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                for channel in range(channels):
                    slope = widened(gradient[row, y, x, channel])
                    passed = zero if widened(result[row, y, x, channel]) <= zero else slope
                    to_images[row, y, x, channel] = passed * scale[channel]


@compiled
def _subtract_affine(
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


@compiled
def _pool_and_rectify(
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


@compiled
def _sum_pooled(gradient: np.ndarray, winner: np.ndarray, images: np.ndarray, lines: np.ndarray) -> _Sums:
    """Return the same sums as `_sum_rectified` for `_pool_and_rectify`."""
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


@compiled
def _spread_pooled(gradient: np.ndarray, winner: np.ndarray, scale: np.ndarray, to_images: np.ndarray) -> None:
    """Do the same as `_spread_rectified` for `_pool_and_rectify`."""
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


@compiled
def _pass_through_statistics(  # noqa: PLR0917
    images: np.ndarray, weight: np.ndarray, statistics: _Sums, rows: int, sums: _Sums, to_images: np.ndarray
) -> _Sums:
    """Add to `to_images` the part of the gradient that passes through the statistics of the first `rows`.

    Returns the gradients with regard to weight and bias. The formulas are those of `fedmeta_flwr.learning.norm`.
    """
    (mean, inverse), (total, product) = statistics, sums
    correlation = (product - mean * total) * inverse
    per_value = weight * inverse / (rows * images.shape[1] * images.shape[2])
    slope = per_value * correlation * inverse
    offset = per_value * total - mean * slope
    _subtract_affine(images, slope.astype(weight.dtype), offset.astype(weight.dtype), rows, to_images)
    return correlation, total


@kernel
def normalise_and_rectify(  # noqa: PLR0917 (Numba's functions are called by position)
    images: np.ndarray, weight: np.ndarray, bias: np.ndarray, rows: int, epsilon: float, result: np.ndarray
) -> _Sums:
    """Set `result` to max(0, normalised `images`); return mean and inverse deviation of each channel.

    `EpisodeNorm` describes the normalisation; `weight` and `bias` are its parameters.
    """
    mean, inverse = _statistics(images, rows, epsilon, np.zeros((2, len(weight)), weight.dtype))
    scale = weight * inverse
    _rectify(images, scale.astype(weight.dtype), (bias - mean * scale).astype(weight.dtype), result)
    return mean, inverse


@kernel
def normalise_pool_and_rectify(  # noqa: PLR0917
    images: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    rows: int,
    epsilon: float,
    result: np.ndarray,
    winner: np.ndarray,
) -> _Sums:
    """Do the same with 2x2 max-pooling before the rectifier; `winner` becomes what `_pool_and_rectify` says."""
    mean, inverse = _statistics(images, rows, epsilon, np.zeros((2, len(weight)), weight.dtype))
    scale = weight * inverse
    shift = (bias - mean * scale).astype(weight.dtype)
    _pool_and_rectify(images, scale.astype(weight.dtype), shift, result, winner)
    return mean, inverse


@kernel
def differentiate_rectified(  # noqa: PLR0917
    gradient: np.ndarray,
    result: np.ndarray,
    images: np.ndarray,
    weight: np.ndarray,
    statistics: _Sums,
    rows: int,
    to_images: np.ndarray,
) -> _Sums:
    """Set `to_images` to the gradient with regard to `images`, and return those with regard to weight and bias.

    `gradient` is with regard to the `result` of `normalise_and_rectify`, which returned `statistics`. `to_images` is
    float32 or float64.
    """
    sums = _sum_rectified(gradient, result, images, np.zeros((2, len(weight)), weight.dtype))
    scale = (weight * statistics[1]).astype(weight.dtype)
    _spread_rectified(gradient, result, scale, to_images)
    return _pass_through_statistics(images, weight, statistics, rows, sums, to_images)


@kernel
def differentiate_pooled(  # noqa: PLR0917
    gradient: np.ndarray,
    winner: np.ndarray,
    images: np.ndarray,
    weight: np.ndarray,
    statistics: _Sums,
    rows: int,
    to_images: np.ndarray,
) -> _Sums:
    """Do the same for `normalise_pool_and_rectify`."""
    sums = _sum_pooled(gradient, winner, images, np.zeros((2, len(weight)), weight.dtype))
    scale = (weight * statistics[1]).astype(weight.dtype)
    _spread_pooled(gradient, winner, scale, to_images)
    return _pass_through_statistics(images, weight, statistics, rows, sums, to_images)
