import os
import pickle
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta_flwr.data.restricted_pickle import PickledArray, read_pickle
from fedmeta_flwr.data.store import DatasetError

ARRAY = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)


def text2(text: bytes) -> bytes:
    """Return Python 2's ``str`` in protocol 2."""
    return b"T" + struct.pack("<i", len(text)) + text


def array2(array: np.ndarray) -> bytes:
    """Return what Python 2 and NumPy 1 write for a uint8 array in protocol 2."""
    dims = b"".join(b"M" + struct.pack("<H", length) for length in array.shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01("
        + dims
        + b"tcnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + text2(array.tobytes())
        + b"tb"
    )


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Any]:
    def written_and_read(content: bytes) -> Any:
        (tmp_path / "a.pkl").write_bytes(content)
        return read_pickle(tmp_path / "a.pkl")

    return written_and_read


def assert_array(found: object, expected: np.ndarray) -> None:
    assert isinstance(found, PickledArray)
    assert found.values.dtype == expected.dtype
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        ARRAY,
        np.asfortranarray(ARRAY),
        ARRAY.transpose(1, 0, 2),
        ARRAY[:, ::2],
        ARRAY.astype(np.int64),
        ARRAY.astype(">i4"),
        ARRAY.astype(np.float32),
        np.array(7, np.uint8),
    ],
)
def test_arrays_of_every_protocol_and_order_are_read(
    read: Callable[[bytes], Any], protocol: int, array: np.ndarray
) -> None:
    assert_array(read(pickle.dumps(array, protocol)), array)


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_written_by_numpy_1_are_read(read: Callable[[bytes], Any], protocol: int) -> None:
    content = pickle.dumps(ARRAY, protocol)
    assert b"numpy._core" in content
    assert_array(read(content.replace(b"numpy._core", b"numpy.core")), ARRAY)


def test_arrays_written_by_python_2_are_read_and_its_text_comes_as_bytes(read: Callable[[bytes], Any]) -> None:
    content = b"\x80\x02}(" + text2(b"image_data") + array2(ARRAY) + text2(b"n\xe9") + b"]K\x03a" + b"u."
    found = read(content)
    assert list(found) == [b"image_data", b"n\xe9"]
    assert_array(found[b"image_data"], ARRAY)
    assert found[b"n\xe9"] == [3]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers_and_numbers_are_read(read: Callable[[bytes], Any], protocol: int) -> None:
    content = {"a": [1, 2.5, None, True], "b": ("c", b"\xff"), "d": OrderedDict(e=np.int64(-3), f=np.float64(0.5))}
    found = read(pickle.dumps(content, protocol))
    assert found == {"a": [1, 2.5, None, True], "b": ("c", b"\xff"), "d": {"e": -3, "f": 0.5}}
    assert type(found["d"]) is dict
    assert type(found["d"]["e"]) is int


class _Calling:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "name"), [(os.mkdir, rf"{os.mkdir.__module__}\.mkdir"), (eval, r"(__builtin__|builtins)\.eval")]
)
def test_a_smuggled_call_is_refused_by_its_name_and_not_made(
    read: Callable[[bytes], Any], tmp_path: Path, protocol: int, function: Callable[..., Any], name: str
) -> None:
    mark = tmp_path / "mark"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    content = pickle.dumps({"image_data": ARRAY, "class_dict": _Calling(function, argument)}, protocol)
    with pytest.raises(DatasetError, match=f"it asks for {name}") as caught:
        read(content)
    assert "a.pkl" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "ndarray.__class__"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.multiarray", "_reconstruct.__globals__"),
        ("fedmeta_flwr.data.restricted_pickle", "PickledArray"),
        ("torch._utils", "_rebuild_tensor"),
    ],
)
def test_no_name_beside_those_of_arrays_is_admitted(read: Callable[[bytes], Any], module: str, name: str) -> None:
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    with pytest.raises(DatasetError, match=f"it asks for {module}.{name}"):
        read(b"\x80\x04" + words + b"\x93.")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (pickle.dumps(np.array([1, "a"], dtype=object)), "arrays of object"),
        (pickle.dumps(np.array(["a"])), "arrays of <U"),
        (pickle.dumps(np.zeros(2, "u1,u1")), "arrays of "),
        (b"\x80\x02cnumpy\ndtype\nK\x01\x85R.", "int where text belongs"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.", "bytes encoded as 'zip'"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\nK\x01K\x01\x86R.", "an array of type int"),
        (b"\x80\x02" + array2(ARRAY).replace(b"M\x05\x00", b"M\x06\x00") + b".", "cannot reshape"),
        (b"\x80\x02K\x01", "found: "),
        (b"", "found: "),
        (b"\x80\x02", "found: "),
    ],
)
def test_what_is_no_whole_pickle_of_numbers_is_refused(
    read: Callable[[bytes], Any], content: bytes, complaint: str
) -> None:
    with pytest.raises(DatasetError, match=complaint):
        read(content)


@pytest.mark.parametrize(
    "name",
    [
        "numpy\nndarray",
        "numpy\ndtype",
        "_codecs\nencode",
        "collections\nOrderedDict",
        "numpy.core.multiarray\n_reconstruct",
        "numpy.core.multiarray\nscalar",
        "numpy.core.numeric\n_frombuffer",
    ],
)
def test_a_pickle_cannot_change_what_stands_for_an_admitted_name(read: Callable[[bytes], Any], name: str) -> None:
    # The state (None, {"__init__": 1}) of the BUILD opcode means: set this attribute of the object, here a class.
    state = b"(N}X\x08\x00\x00\x00__init__K\x01st"
    with pytest.raises(DatasetError, match="expected a pickle"):
        read(b"\x80\x02c" + name.encode() + b"\n" + state + b"b.")
    assert_array(read(pickle.dumps(ARRAY)), ARRAY)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_pickle_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps({"a": np.arange(3, dtype=np.uint8), "b": [1, "c"]}, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.pkl").write_bytes(content)
        with suppress(DatasetError):
            read_pickle(Path(folder, "a.pkl"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=str(tmp_path / "nowhere.pkl")):
        read_pickle(tmp_path / "nowhere.pkl")
