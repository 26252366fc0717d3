"""Pickles of NumPy arrays and plain containers, read without executing what else a pickle may ask for.

A pickle names functions and calls them. Here every name that an array needs stands for a small class of this module,
which checks what it is given and builds a plain number array; no other name is admitted, so neither NumPy's own
constructors nor anything else can be called by the file.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmeta_flwr.datasets.store import DatasetError

_NUMBER_KINDS = "biuf"


class _StandIn:
    def __setstate__(self, state: Any) -> None:
        """Refuse a state: with no such method, a pickle could overwrite the class's own methods through it."""
        raise pickle.UnpicklingError("a state where none belongs")


class PickledArray(_StandIn):
    """An array in a pickle.

    Attributes
    ----------
    values : NDArray
        Numbers, of the type and shape that the pickle names.
    """

    def __init__(self, *_: object) -> None:
        self.values: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """Fill from NumPy's state: version, shape, type, whether columns come first, bytes."""
        _, shape, number_type, is_fortran, content = state
        self.values = _number_type(number_type).read(content).reshape(shape, order="F" if is_fortran else "C")


class _NumberType(_StandIn):
    """Stands for ``numpy.dtype``: a type of numbers by its short name, such as ``u1``."""

    def __init__(self, name: object, *_: object) -> None:
        self.dtype = np.dtype(_text(name))
        if self.dtype.kind not in _NUMBER_KINDS:
            raise pickle.UnpicklingError(f"arrays of {self.dtype}")

    def __setstate__(self, state: Any) -> None:
        """Take the byte order alone from NumPy's state; the rest has a meaning for structures only."""
        self.dtype = self.dtype.newbyteorder(">" if _text(state[1]) == ">" else "<")

    def read(self, content: bytes) -> NDArray[Any]:
        """Return the numbers that the bytes stand for, in a row."""
        return np.frombuffer(content, self.dtype)


class _Bytes(_StandIn):
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes into old protocols."""

    def __new__(cls, text: str, encoding: object) -> Any:
        if _text(encoding) != "latin1":
            raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
        return text.encode("latin1")


class _Number(_StandIn):
    """Stands for ``numpy.core.multiarray.scalar``."""

    def __new__(cls, number_type: _NumberType, content: bytes) -> Any:
        return _number_type(number_type).read(content).item()


class _BufferedArray(_StandIn):
    """Stands for ``numpy.core.numeric._frombuffer``, by which protocol 5 writes arrays."""

    def __new__(
        cls, content: bytes, number_type: _NumberType, shape: Any, order: str, axes: tuple[int, ...] | None = None
    ) -> Any:
        array = PickledArray()
        array.__setstate__((1, shape, number_type, order == "F", content))
        if axes is not None:
            array.values = array.values.transpose(axes)
        return array


_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _NumberType,
    ("_codecs", "encode"): _Bytes,
    ("collections", "OrderedDict"): dict,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")  # NumPy 1 and 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", PickledArray),
            ("multiarray", "scalar", _Number),
            ("numeric", "_frombuffer", _BufferedArray),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def read_pickle(path: Path) -> object:
    """Read a pickle of number arrays, numbers, text and plain containers.

    Parameters
    ----------
    path
        A pickle of any protocol, written by Python 2 or 3 with NumPy 1 or 2.

    Returns
    -------
    object
        Dicts, lists, tuples, numbers, text and `PickledArray`. Python 2's ``str`` comes as bytes, since it may be
        either, and a copy of a large array as text would be dear.

    Raises
    ------
    DatasetError
        If the file is missing, damaged, or asks for anything else; names it.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="bytes").load()
    except Exception as error:  # the pickle module's own words: a damaged pickle may raise any
        raise DatasetError(f"expected a pickle of arrays and plain containers at {path}, found: {error}") from error


def _number_type(value: object) -> _NumberType:
    if not isinstance(value, _NumberType):
        raise pickle.UnpicklingError(f"an array of type {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise pickle.UnpicklingError(f"{type(value).__name__} where text belongs")
    return value.decode("latin1") if isinstance(value, bytes) else value
