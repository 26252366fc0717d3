"""Check the arrays of a reply, before and after they are decoded."""

import math

import numpy as np
from flwr.app import Array

from fedmeta_flwr.protocol import messages
from strategies.errors import RejectedReplyError

LARGEST = math.sqrt(float(np.finfo(np.float32).max)) / 100
"""About 1.8e17; squares of larger numbers, summed over clients, may leave the range of a float32."""

LONGEST_NAME = 200


def read_array(name: str, array: Array, like: np.ndarray) -> np.ndarray:
    """Decode an array of a reply.

    Parameters
    ----------
    name : str
        Its name, for messages.
    array : Array
        As it arrived.
    like : np.ndarray
        An array of the expected type and shape.

    Raises
    ------
    RejectedReplyError
        If it is of another type or shape, cannot be read, or has numbers that are not finite or too large.
    """
    _check_declaration(name, array, like)
    try:
        values: np.ndarray = array.numpy()
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise RejectedReplyError(f"array {name!r}: expected readable numbers, found {shown(error)}") from error
    _check_range(name, values)
    return values


def _check_range(name: str, values: np.ndarray) -> None:
    """Require finite numbers of a moderate size; lowest and highest are NaN where any number is."""
    if not values.size or (float(values.min()) >= -LARGEST and float(values.max()) <= LARGEST):
        return
    if not np.isfinite(values).all():
        raise RejectedReplyError(f"array {name!r}: expected finite numbers, found others")
    raise RejectedReplyError(f"array {name!r}: expected numbers up to {LARGEST:.1g}, found others")


def _check_declaration(name: str, array: Array, sent: np.ndarray) -> None:
    """Check the type and shape that an array declares, outside and inside its bytes: decoding allocates that memory."""
    try:
        inside, size = messages.declared_array(array)
    except (ValueError, TypeError) as error:
        raise RejectedReplyError(f"array {name!r}: expected NumPy's format, found {shown(error)}") from error
    for found in ((str(array.dtype), tuple(array.shape)), inside):
        if found != (str(sent.dtype), sent.shape):
            raise RejectedReplyError(
                f"array {name!r}: expected {sent.dtype} of shape {sent.shape}, found {shown(found[0])} of "
                f"{shown(found[1])}"
            )
    if size != sent.nbytes:
        raise RejectedReplyError(f"array {name!r}: expected {sent.nbytes} bytes of numbers, found {size}")


def shown(value: object) -> str:
    """Return the text of an untrusted value, short enough for a log."""
    text = repr(value)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
