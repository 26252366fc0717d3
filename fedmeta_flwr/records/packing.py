"""Converts values to plain JSON and named arrays, and back, so that a checkpoint is read without executing code.

A value may consist of numbers, texts, bytes, lists, tuples, dicts, NumPy arrays and Flower's records, at any depth. An
array record that several messages share is written once, and is shared again when it is read.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

Tree = Any
"""A value that `json.dumps` accepts."""

_KIND = "kind"
_RECORDS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "dict": dict,
    "ArrayRecord": ArrayRecord,
    "ConfigRecord": ConfigRecord,
    "MetricRecord": MetricRecord,
    "RecordDict": RecordDict,
}


class PackingError(ValueError):
    """A value that cannot be packed (says which part of it), or packed values that cannot be read."""


def pack(value: object) -> tuple[Tree, dict[str, np.ndarray]]:
    """Convert a value to plain JSON and named arrays.

    Parameters
    ----------
    value : object
        See the module's docstring.

    Returns
    -------
    tree : object
        Plain JSON, which names the arrays.
    arrays : dict of str to np.ndarray
        The arrays by name.

    Raises
    ------
    PackingError
        If a part of the value has another type; says which part.
    """
    packer = _Packer()
    return packer.pack(value, ""), packer.arrays


def unpack(tree: Tree, arrays: Mapping[str, np.ndarray]) -> Any:
    """Undo `pack`; raises `PackingError` for a tree that is not from `pack`."""
    try:
        return _Unpacker(arrays).unpack(tree)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PackingError(f"expected packed values, found others: {type(error).__name__}: {error}") from error


class _Packer:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._records: dict[int, int] = {}  # id of an array record that was packed -> its number

    def pack(self, value: object, where: str) -> Tree:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, bytes):
            return {_KIND: "bytes", "hex": value.hex()}
        if isinstance(value, np.generic | np.ndarray | Array):
            return self._array(value, where)
        if isinstance(value, list | tuple):
            items = [self.pack(item, f"{where}[{index}]") for index, item in enumerate(value)]
            return {_KIND: "list" if isinstance(value, list) else "tuple", "items": items}
        if isinstance(value, Mapping):
            return self._mapping(value, where)
        raise _unknown(value, where)

    def _array(self, value: np.generic | np.ndarray | Array, where: str) -> Tree:
        kind = "Array" if isinstance(value, Array) else "array" if isinstance(value, np.ndarray) else "number"
        array = value.numpy() if isinstance(value, Array) else np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise _unknown(value, where)
        name = f"{len(self.arrays)}{where}"
        self.arrays[name] = array
        return {_KIND: kind, "name": name}

    def _mapping(self, value: Mapping[Any, Any], where: str) -> Tree:
        if id(value) in self._records:
            return {_KIND: "shared", "number": self._records[id(value)]}
        kind = type(value).__name__
        if kind not in _RECORDS:
            raise _unknown(value, where)
        items = [[self.pack(key, where), self.pack(item, f"{where}.{key}")] for key, item in value.items()]
        if isinstance(value, ArrayRecord):
            self._records[id(value)] = len(self._records)
        return {_KIND: kind, "items": items}


class _Unpacker:
    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._records: list[ArrayRecord] = []

    def unpack(self, tree: Tree) -> Any:
        if not isinstance(tree, dict):
            return tree
        kind = tree[_KIND]
        if kind == "bytes":
            return bytes.fromhex(tree["hex"])
        if kind in ("number", "array", "Array"):
            array = self._arrays[tree["name"]]
            return array if kind == "array" else Array(array) if kind == "Array" else array[()]
        if kind in ("list", "tuple"):
            items = [self.unpack(item) for item in tree["items"]]
            return items if kind == "list" else tuple(items)
        if kind == "shared":
            return self._records[tree["number"]]
        record = _RECORDS[kind]({self.unpack(key): self.unpack(item) for key, item in tree["items"]})
        if isinstance(record, ArrayRecord):
            self._records.append(record)
        return record


def _unknown(value: object, where: str) -> PackingError:
    return PackingError(f"{where.lstrip('.') or 'value'}: expected numbers, texts, arrays or records, found {value!r}")
