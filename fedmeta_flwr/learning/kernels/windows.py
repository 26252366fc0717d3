"""The 3x3 windows of a convolution with stride 2, as the rows of a matrix."""

import numpy as np

from fedmeta_flwr.learning.kernels.compilation import kernel


@kernel
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


@kernel
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
