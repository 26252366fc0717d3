"""Give aggregated arrays the form of the global arrays."""

import numpy as np
from flwr.app import Array, ArrayRecord


def conform(aggregated: ArrayRecord, reference: ArrayRecord) -> ArrayRecord:
    """Give aggregated arrays the order and the dtypes of the global arrays.

    Some of Flower's strategies multiply by NumPy's float64 scalars (FedAdam, QFedAvg) and turn float32 arrays into
    float64 ones, which would stay so in every later message.

    Parameters
    ----------
    aggregated : ArrayRecord
        A strategy's result.
    reference : ArrayRecord
        The global arrays that it started from.

    Returns
    -------
    ArrayRecord
        The same values, rounded to the reference's dtypes, with the reference's shapes, also 0-d ones.

    Raises
    ------
    ValueError
        If names or shapes differ, or a value is not finite or outside the range of the reference's dtype.
    """
    if set(aggregated) != set(reference):
        raise ValueError(f"expected the arrays {sorted(reference)}, found {sorted(aggregated)}")
    return ArrayRecord({name: _conformed(name, aggregated[name], reference[name]) for name in reference})


def _conformed(name: str, array: Array, reference: Array) -> Array:
    if tuple(array.shape) != tuple(reference.shape):
        raise ValueError(f"array {name!r}: expected shape {tuple(reference.shape)}, found {tuple(array.shape)}")
    with np.errstate(over="ignore"):
        values = np.asarray(array.numpy(), dtype=reference.dtype)
    if not np.isfinite(values).all():
        raise ValueError(f"array {name!r}: expected finite numbers in the range of {reference.dtype}, found others")
    return Array(values)
