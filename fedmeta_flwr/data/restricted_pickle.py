"""Reads pickles of NumPy arrays and plain containers, without executing anything else that a pickle may contain.

A pickle names functions and calls them. Here, each name that an array needs is mapped to a small class of this module,
which checks its arguments and builds a plain array of numbers. No other name is admitted, so the file can call neither
NumPy's constructors nor anything else.

A small file also cannot use much memory or time. The unpickler is the one in Python, not the faster one in C, which
allocates memory for the largest object number in a file, so that a dozen bytes take 64 GiB. The steps of the unpickler
are counted, and the keys of dicts may only be text and whole numbers, because hashing nested tuples may take forever.

No library does this. picklescan and fickling check the imports of a pickle against lists, and then call `pickle`; their
lists have often been circumvented (see their advisories of 2025 and 2026), and neither limits memory or time.
`torch.load` with ``weights_only=True`` is made for PyTorch's files: its unpickler calls NumPy's constructors, and does
not support the opcodes of protocols 4 and 5. `pandas.read_pickle` executes everything, and `numpy.load` without pickles
does not read them.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmeta_flwr.data.safe_files import check_file
from fedmeta_flwr.data.store import DatasetError

MAX_PICKLE_BYTES = 2**32  # 4 GiB; the largest pickle of mini-ImageNet has 0.8 GiB
MAX_STEPS = 4_000_000  # about 60 to 200 bytes each; mini-ImageNet's 38,400 rows take 400,000 if they are NumPy numbers

_NUMBER_KINDS = "biuf"


class _StandIn:
    def __setstate__(self, state: Any) -> None:
        """Refuse a state: without this method, a pickle could overwrite the methods of the class."""
        raise pickle.UnpicklingError("a state where none belongs")


class PickledArray(_StandIn):
    """An array in a pickle.

    Attributes
    ----------
    values : NDArray
        The numbers, of the type and shape in the pickle.
    """

    def __init__(self, *_: object) -> None:
        self.values: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """Fill the array from NumPy's state: version, shape, type, whether the order is Fortran's, bytes."""
        _, shape, number_type, is_fortran, content = state
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise pickle.UnpicklingError("an array with a length below 0")  # NumPy would infer a length of -1
        self.values = _number_type(number_type).read(content).reshape(shape, order="F" if is_fortran else "C")


class _NumberType(_StandIn):
    """Replaces ``numpy.dtype``: a type of numbers by its short name, such as ``u1``."""

    def __init__(self, name: object, *_: object) -> None:
        if len(_text(name)) > 20:
            raise pickle.UnpicklingError(f"arrays of {_text(name)[:20]!r} and more")
        self.dtype = np.dtype(_text(name))
        if self.dtype.kind not in _NUMBER_KINDS:
            raise pickle.UnpicklingError(f"arrays of {self.dtype}")

    def __setstate__(self, state: Any) -> None:
        """Take only the byte order from NumPy's state; the rest is only for structured types."""
        self.dtype = self.dtype.newbyteorder(">" if _text(state[1]) == ">" else "<")

    def read(self, content: bytes) -> NDArray[Any]:
        """Return the numbers in the bytes, as an array of one dimension."""
        return np.frombuffer(content, self.dtype)


class _Bytes(_StandIn):
    """Replaces ``_codecs.encode``, with which Python 3 writes bytes in old protocols."""

    def __new__(cls, text: str, encoding: object) -> Any:
        if _text(encoding) != "latin1":
            raise pickle.UnpicklingError(f"bytes encoded as {_text(encoding)[:20]!r}")
        return text.encode("latin1")


class _Number(_StandIn):
    """Replaces ``numpy.core.multiarray.scalar``."""

    def __new__(cls, number_type: _NumberType, content: bytes) -> Any:
        return _number_type(number_type).read(content).item()


class _BufferedArray(_StandIn):
    """Replaces ``numpy.core.numeric._frombuffer``, with which protocol 5 writes arrays."""

    def __new__(
        cls, content: bytes, number_type: _NumberType, shape: Any, order: str, axes: tuple[int, ...] | None = None
    ) -> Any:
        array = PickledArray()
        array.__setstate__((1, shape, number_type, order == "F", content))
        if axes is not None:
            array.values = array.values.transpose(axes)
        return array


class _OrderedDict(_StandIn):
    """Replaces ``collections.OrderedDict``, which Python 2 writes with its items as a list of pairs."""

    def __new__(cls, items: Any = ()) -> Any:
        _check_keys([key for key, _ in items])
        return dict(items)


_ADMITTED: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _NumberType,
    ("_codecs", "encode"): _Bytes,
    ("collections", "OrderedDict"): _OrderedDict,
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


_Step = Callable[["_Unpickler"], None]


def _checked(step: _Step, first_key: int) -> _Step:
    """Check the keys on the stack before a step puts them into a dict; `first_key` is the position of the first."""

    def run(unpickler: "_Unpickler") -> None:
        _check_keys(unpickler.stack[first_key::2])
        step(unpickler)

    return run


def _admitted_steps() -> dict[int, _Step]:
    refused = {pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER}
    refused |= {pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID}
    steps: dict[int, Any] = {
        key: step for key, step in pickle._Unpickler.dispatch.items() if bytes([key]) not in refused
    }
    for opcode, first_key in ((pickle.DICT, 0), (pickle.SETITEMS, 0), (pickle.SETITEM, -2)):
        steps[opcode[0]] = _checked(steps[opcode[0]], first_key)
    return steps | {pickle.BYTEARRAY8[0]: steps[pickle.BINBYTES8[0]]}  # a bytearray would be allocated at once


class _Steps(dict[int, _Step]):
    """The step for each opcode; counts the steps."""

    left = MAX_STEPS

    def __getitem__(self, opcode: int) -> _Step:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_STEPS} steps")
        if opcode not in self:
            raise pickle.UnpicklingError(f"opcode {bytes([opcode])!r}")
        return super().__getitem__(opcode)


class _Unpickler(pickle._Unpickler):
    stack: list[Any]

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="bytes")
        self.dispatch = _Steps(_admitted_steps())  # type: ignore[misc,assignment]

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
        Dicts, lists, tuples, numbers, text and `PickledArray`. Python 2's ``str`` is returned as bytes, because it may
        be text or bytes, and a large array as text would need much memory.

    Raises
    ------
    DatasetError
        If the file is missing, damaged or too large, or asks for anything else; the error names the file.
    """
    check_file(path, MAX_PICKLE_BYTES)
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except Exception as error:  # a damaged pickle may raise any exception, as the documentation of pickle says
        found = str(error)[:200] or type(error).__name__
        raise DatasetError(f"expected a pickle of arrays and plain containers at {path}, found: {found}") from error


def _number_type(value: object) -> _NumberType:
    if not isinstance(value, _NumberType):
        raise pickle.UnpicklingError(f"an array of type {type(value).__name__}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str | bytes):
        raise pickle.UnpicklingError(f"{type(value).__name__} where text belongs")
    return value.decode("latin1") if isinstance(value, bytes) else value


def _check_keys(keys: list[Any]) -> None:
    for key in keys:
        if not isinstance(key, str | bytes | int):
            raise pickle.UnpicklingError(f"a dict with a key that is a {type(key).__name__}")
