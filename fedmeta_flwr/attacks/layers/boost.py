"""The boost: the update is scaled, so that it outweighs the other updates of the mean."""

from collections.abc import Mapping

import numpy as np

from fedmeta_flwr.attacks.layers.base import Layer


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
