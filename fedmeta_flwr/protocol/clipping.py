"""Clipping of an update for differential privacy, to the bit as Flower clips, but for updates whose norm is 0.

Flower divides by the norm, so that an update equal to the global model, or one whose squares are too small for a
float32, raises. It is scaled by 1 here, as any update within the bound is.
"""

from collections.abc import Mapping

import numpy as np

from fedmeta_flwr.protocol.messages import Arrays


def clip(arrays: Mapping[str, np.ndarray], sent: Mapping[str, np.ndarray], clipping_norm: float) -> tuple[Arrays, bool]:
    """Shorten the difference of a model to the one that it started from.

    Parameters
    ----------
    arrays, sent : mapping of str to np.ndarray
        The model and the one that it started from: the same names and shapes.
    clipping_norm : float
        Longest Euclidean norm of the difference, over all arrays; above 0.

    Returns
    -------
    dict
        The model that is as near as this, in the same direction. Arrays of no dimension are not moved, as in Flower.
    bool
        Whether it had to be shortened.

    Notes
    -----
    FlatClip of McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models".
    """
    update = {name: np.subtract(array, sent[name]) for name, array in arrays.items()}
    norm = float(np.sqrt(sum(np.linalg.norm(part.flat) ** 2 for part in update.values())))
    factor = min(1, clipping_norm / norm) if norm else 1
    shortened = {name: part * factor if part.ndim else part for name, part in update.items()}
    return {name: np.asarray(sent[name] + part) for name, part in shortened.items()}, factor < 1
