"""Clipping of an update for differential privacy; bit-identical to Flower's, except for updates with norm 0.

Flower divides by the norm, so it raises for a model that equals the global one, and for an update whose squares are too
small for float32. Here, such an update is scaled by 1, like any update within the bound.
"""

from collections.abc import Mapping

import numpy as np

from fedmeta_flwr.protocol.messages import Arrays


def clip(arrays: Mapping[str, np.ndarray], sent: Mapping[str, np.ndarray], clipping_norm: float) -> tuple[Arrays, bool]:
    """Shorten the difference between a model and the model that it started from.

    Parameters
    ----------
    arrays, sent : mapping of str to np.ndarray
        The model and the model that it started from, with the same names and shapes.
    clipping_norm : float
        Largest Euclidean norm of the difference, over all arrays; above 0.

    Returns
    -------
    dict
        The model in the same direction whose difference has at most this norm. 0-d arrays are not scaled, as in Flower.
    bool
        Whether the difference was shortened.

    Notes
    -----
    FlatClip of McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models".
    """
    update = {name: np.subtract(array, sent[name]) for name, array in arrays.items()}
    norm = float(np.sqrt(sum(np.linalg.norm(part.flat) ** 2 for part in update.values())))
    factor = min(1, clipping_norm / norm) if norm else 1
    shortened = {name: part * factor if part.ndim else part for name, part in update.items()}
    return {name: np.asarray(sent[name] + part) for name, part in shortened.items()}, factor < 1
