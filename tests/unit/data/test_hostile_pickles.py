"""Pickles from strangers: small ones that ask for much, and mangled ones, are refused or read as plain data."""

import gc
import pickle
import pickletools
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.bounded_memory import on_linux, outcomes

from fedmeta_flwr.data import restricted_pickle
from fedmeta_flwr.data.restricted_pickle import PickledArray, read_pickle
from fedmeta_flwr.data.store import DatasetError

TIMES = 400
"""How often each way to mangle is tried."""

PLAIN = {
    "image_data": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3),
    "class_dict": {"a": [0], b"b": (1, 2.5, None, True), "c": OrderedDict(d=np.int64(-3))},
}
PICKLES: list[bytes] = [pickle.dumps(PLAIN, protocol) for protocol in range(6)]
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
TYPE = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


def array_of_shape(*shape: int) -> bytes:
    """Return a pickle of an array of 4 bytes that claims another shape."""
    lengths = b"".join(b"\x8a\x08" + struct.pack("<q", length) for length in shape)
    return b"\x80\x02" + ARRAY + b"(" + lengths + b"t" + TYPE + b"\x89U\x04aaaatb."


def laughs(of: bytes) -> bytes:
    """Return a pickle of a pair of one pair twice, 40 deep: 2^40 to whoever walks through it."""
    return b"\x80\x02)" + b"q\x000h\x00h\x00\x86" * 40 + of


BOMBS = {
    "an object of number 4294967295": b"\x80\x02Nr\xff\xff\xff\xff.",
    "an object of number 10^18": b"Np1000000000000000000\n.",
    "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "bytes of 2^34": b"\x80\x04\x8e" + struct.pack("<Q", 2**34) + b".",
    "bytes of 2^31": b"\x80\x04B\xff\xff\xff\x7f.",
    "text of 2^34": b"\x80\x04\x8d" + struct.pack("<Q", 2**34) + b".",
    "a bytearray of 2^34": b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b".",
    "a frame of 2^34": b"\x80\x04\x95" + struct.pack("<Q", 2**34) + b".",
    "a number of 2^31 bytes": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "text below 0": b"\x80\x02T\xff\xff\xff\xff.",
    "a huge shape": array_of_shape(2**40, 2**40),
    "a shape of 2^62": array_of_shape(2**62, 4),
    "a shape of nothing, but much of it": array_of_shape(0, 2**62, 4),
    "a shape below 0": array_of_shape(-1, 4),
    "two lengths below 0": array_of_shape(-2, -2),
    "another shape": array_of_shape(5),
    "keys of 2^40 parts": laughs(b"q\x000}h\x00Ns."),
    "keys of 2^40 parts, many": laughs(b"q\x000}(h\x00Nu."),
    "keys of 2^40 parts, from a list": laughs(b"q\x000(h\x00Nd."),
    "keys of 2^40 parts, in order": laughs(b"q\x000ccollections\nOrderedDict\n]h\x00N\x86a\x85R."),
    "a set of 2^40 parts": b"\x80\x04" + laughs(b"q\x000\x8f(h\x00\x90.")[2:],
    "an array of a type of 2^40 parts": laughs(b"q\x000cnumpy.core.multiarray\nscalar\nh\x00U\x01a\x86R."),
    "bytes in an encoding of 2^40 parts": laughs(b"q\x000c_codecs\nencode\nX\x01\x00\x00\x00ah\x00\x86R."),
    "a type with a long name": b"\x80\x02cnumpy\ndtype\nX" + struct.pack("<I", 10**6) + b"u1," * 333333 + b"1\x85R.",
    "a type of many bytes": b"\x80\x02cnumpy\ndtype\nU\x0bV2147483647\x85R.",
    "twenty million lists": b"\x80\x02" + b"]" * 20_000_000 + b".",
    "a file with holes": b"",
}


@on_linux
def test_pickles_that_ask_for_much_are_refused_in_little_memory(tmp_path: Path) -> None:
    for index, content in enumerate(BOMBS.values()):
        (tmp_path / f"{index}.pkl").write_bytes(content)
    with (tmp_path / f"{len(BOMBS) - 1}.pkl").open("wb") as holes:
        holes.truncate(2**40)
    found = outcomes(
        "from fedmeta_flwr.data.restricted_pickle import DatasetError, read_pickle",
        "read_pickle(file)",
        "DatasetError",
        [str(tmp_path / f"{index}.pkl") for index in range(len(BOMBS))],
        mebibytes=1024,  # 4 million lists take half of that
    )
    for index, (name, words) in enumerate(zip(BOMBS, found, strict=True)):
        harmless = name.startswith("an object of number")  # since such numbers are kept in a dict
        assert words == "accepted" if harmless else f"{index}.pkl" in words, (name, words)
        assert len(words) < 500


def test_the_number_of_steps_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle._Steps, "left", 100)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + b"]" * 99 + b".")
    with pytest.raises(DatasetError, match=r"a\.pkl, found: more than 4000000 steps"):
        read_pickle(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + b"]" * 97 + b"N.")
    assert read_pickle(tmp_path / "a.pkl") is None


def test_an_ordered_dict_of_python_2_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01e](U\x01bK\x02ee\x85R.")
    assert read_pickle(tmp_path / "a.pkl") == {b"a": 1, b"b": 2}


def change_bytes(rng: np.random.Generator) -> bytes:
    content = bytearray(PICKLES[rng.integers(len(PICKLES))])
    for place in rng.integers(0, len(content), rng.integers(1, 4)):
        content[place] = rng.integers(0, 256)
    return bytes(content)


def truncate(rng: np.random.Generator) -> bytes:
    content = PICKLES[rng.integers(len(PICKLES))]
    return content[: rng.integers(0, len(content))] + (b"." if rng.random() < 0.5 else b"")


def splice(rng: np.random.Generator) -> bytes:
    first, second = (PICKLES[int(index)] for index in rng.integers(0, len(PICKLES), 2))
    if rng.random() < 0.1:  # whole pickles in a row: the first one counts
        return first + second
    return first[: rng.integers(0, len(first))] + second[rng.integers(0, len(second)) :]


def change_steps(rng: np.random.Generator) -> bytes:
    """Take whole steps away, repeat them, swap them or put others among them."""
    content = PICKLES[rng.integers(1, len(PICKLES))]
    places = [place for *_, place in pickletools.genops(content)] + [len(content)]
    steps = [content[start:end] for start, end in pairwise(places)]
    steps = [step for step in steps if step[:1] != b"\x95"]  # without frames, which hold a number of bytes
    for _ in range(rng.integers(1, 3)):
        one, other = rng.integers(1, len(steps) - 1, 2)
        match rng.integers(4):
            case 0:
                del steps[one]
            case 1:
                steps.insert(one, steps[other])
            case 2:
                steps[one], steps[other] = steps[other], steps[one]
            case 3:
                steps.insert(one, bytes([rng.choice(list(b"(0]})tdaesubR\x81\x85\x86\x872NKq"))]))
    return b"".join(steps)


def random_steps(rng: np.random.Generator) -> bytes:
    pieces = [b"N", b"K\x01", b"(", b")", b"]", b"}", b"a", b"s", b"u", b"t", b"l", b"d", b"0", b"2", b"R", b"b", b"e"]
    pieces += [b"\x85", b"\x86", b"\x81", b"\x92", b"o", b"q\x01", b"h\x01", b"U\x02u1", TYPE, ARRAY, b"\x88", b"\x8f"]
    pieces += [f"c{module}\n{name}\n".encode() for module, name in restricted_pickle._ADMITTED]
    return b"".join(pieces[index] for index in rng.integers(0, len(pieces), rng.integers(1, 12))) + b"."


def is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, PickledArray):
        return value.values.dtype.kind in "biuf"
    if isinstance(value, dict):
        return all(isinstance(key, str | bytes | int) and is_plain(value[key], depth + 1) for key in value)
    if isinstance(value, list | tuple):
        return depth > 20 or all(is_plain(part, depth + 1) for part in value)
    admitted = (*restricted_pickle._ADMITTED.values(), restricted_pickle._NumberType)
    return value is None or isinstance(value, int | float | str | bytes | admitted[-1]) or value in admitted


Mangle = Callable[[np.random.Generator], bytes]
MANGLES: tuple[Mangle, ...] = (change_bytes, truncate, splice, change_steps, random_steps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mangle", MANGLES, ids=lambda mangle: mangle.__name__)
def test_a_mangled_pickle_is_plain_data_or_refused_by_name(tmp_path: Path, mangle: Mangle) -> None:
    results: Counter[bool] = Counter()
    for seed in range(TIMES):
        (tmp_path / "a.pkl").write_bytes(mangle(np.random.default_rng([MANGLES.index(mangle), seed])))
        try:
            assert is_plain(read_pickle(tmp_path / "a.pkl")), f"{mangle.__name__} {seed}"
            results[True] += 1
        except DatasetError as error:
            assert str(tmp_path / "a.pkl") in str(error)  # noqa: PT017
            results[False] += 1
    gc.collect()
    print(f"{mangle.__name__}: {results[False]} refused, {results[True]} read")
    assert results[False] > TIMES // 5
    assert results[True] > TIMES // 100
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
    assert is_plain(read_again(tmp_path))


def read_again(folder: Path) -> object:
    """Return the content of a sound pickle: what was read before has not changed how it is read."""
    (folder / "a.pkl").write_bytes(PICKLES[-1])
    found: Any = read_pickle(folder / "a.pkl")
    np.testing.assert_array_equal(found["image_data"].values, PLAIN["image_data"])
    assert found["class_dict"] == {"a": [0], b"b": (1, 2.5, None, True), "c": {"d": -3}}
    return found
