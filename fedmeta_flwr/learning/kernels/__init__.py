"""Compiled loops over images whose channels are innermost in memory.

Each array of images has shape (rows, height, width, channels), contiguous, in float32, float64 or bfloat16, the bits of
which it holds as uint16. The innermost loop runs over the channels, so that it is vectorised without a change of the
order of any sum.

Numba compiles a function for the processor when it is first called, and the result is kept on disk (`compilation`).
"""

from fedmeta_flwr.learning.kernels.normalisation import (
    differentiate_pooled,
    differentiate_rectified,
    normalise_and_rectify,
    normalise_pool_and_rectify,
)
from fedmeta_flwr.learning.kernels.windows import gather_windows, scatter_windows

__all__ = [
    "differentiate_pooled",
    "differentiate_rectified",
    "gather_windows",
    "normalise_and_rectify",
    "normalise_pool_and_rectify",
    "scatter_windows",
]
