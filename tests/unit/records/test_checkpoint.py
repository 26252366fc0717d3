"""Files of arrays: what is read is what was written, and a file that is damaged says so."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fedmeta_flwr.records import checkpoint
from fedmeta_flwr.records.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5,
    "bias": np.array([0.5, -0.5], np.float32),
    "a-scale": np.array(-2.3, np.float32),
    "counts": np.array([[1], [2]], np.int64),
}
"""Neither in alphabetical order, nor without a 0-d array, nor of one dtype."""


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return list(found) == list(expected) and all(
        (found[name].dtype, found[name].shape, found[name].tobytes()) == (array.dtype, array.shape, array.tobytes())
        for name, array in expected.items()
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_arrays_and_texts_survive_a_round_trip_in_the_order_of_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.safetensors"
    save_checkpoint(path, ARRAYS, {"server-round": "7", "config": '{"case": "ä"}'})
    read = load_checkpoint(path)
    assert read.path == path
    assert read.metadata == {"server-round": "7", "config": '{"case": "ä"}'}
    assert same(read.fitted(ARRAYS), ARRAYS)
    backwards = dict(reversed(ARRAYS.items()))
    assert same(read.fitted(backwards), backwards)


def test_an_array_that_is_a_view_is_written_as_it_looks(tmp_path: Path) -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_checkpoint(tmp_path / "a", {"turned": turned, "every other": np.arange(8.0)[::2]}, {})
    assert load_checkpoint(tmp_path / "a").arrays["turned"].tolist() == turned.tolist()
    assert load_checkpoint(tmp_path / "a").arrays["every other"].tolist() == [0, 2, 4, 6]


def test_what_is_read_can_be_changed_and_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, ARRAYS, {})
    read = load_checkpoint(path).arrays["weight"]
    save_checkpoint(path, {"weight": np.zeros((2, 3), np.float32)}, {})
    path.unlink()
    read += 1
    assert (read == ARRAYS["weight"] + 1).all()


def test_a_new_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for value in (1.0, 2.0):
        save_checkpoint(path, {"a": np.array([value])}, {})
    assert load_checkpoint(path).arrays["a"].tolist() == [2.0]
    assert files(tmp_path) == {"model.safetensors"}


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("owner", [(os, "fsync"), (Path, "replace")])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: tuple[Any, str]
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, ARRAYS, {"server-round": "1"})
    before = path.read_bytes()
    monkeypatch.setattr(*owner, full)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot write it: No space left"):
        save_checkpoint(path, {"a": np.zeros(3)}, {})
    assert path.read_bytes() == before
    assert files(tmp_path) == {"model.safetensors"}


def test_a_write_that_is_interrupted_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    save_checkpoint(tmp_path / "a", ARRAYS, {})
    before = (tmp_path / "a").read_bytes()
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "a", {"a": np.zeros(3)}, {})
    assert (tmp_path / "a").read_bytes() == before
    assert files(tmp_path) == {"a"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file/a: cannot write it: (File exists|Not a directory)"):
        save_checkpoint(tmp_path / "file" / "a", ARRAYS, {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weight": None}, r"missing \['weight'\], unknown \[\]"),
        ({"head": np.zeros(1, np.float32)}, r"missing \[\], unknown \['head'\]"),
        ({"bias": np.zeros(3, np.float32)}, r"array bias: expected float32 of shape \(2,\), found float32 of \(3,\)"),
        ({"bias": np.zeros(2)}, r"array bias: expected float32 of shape \(2,\), found float64 of \(2,\)"),
        ({"counts": np.zeros((2, 1), np.int32)}, "array counts: expected int64 .* found int32"),
        ({"weight": np.full((2, 3), np.nan, np.float32)}, "array weight: expected finite numbers"),
        ({"bias": np.array([0, -np.inf], np.float32)}, "array bias: expected finite numbers"),
    ],
)
def test_arrays_of_another_architecture_are_refused_by_file_and_name(
    tmp_path: Path, changes: dict[str, np.ndarray | None], reason: str
) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {name: array for name, array in {**ARRAYS, **changes}.items() if array is not None}
    path.write_bytes(save(arrays))
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_checkpoint(path).fitted(ARRAYS)
    assert str(caught.value).startswith(f"{path}: ")


VALID = save(ARRAYS, {"server-round": "3"})


def header(text: str) -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode()


DAMAGED = {
    "empty": b"",
    "shorter than its first number": b"\0" * 7,
    "another format": b"PK\x03\x04 not of this format at all",
    "a header of 2^64 bytes": b"\xff" * 64,
    "a header that is a list": header("[]"),
    "an array that is a number": header('{"a": 1}'),
    "no data": header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'),
    "a shape below 0": header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}') + b"\0" * 4,
    "bfloat16, unknown to numpy": header('{"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}') + b"\0" * 4,
    "float8, unknown to numpy": header('{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}') + b"\0" * 4,
    "complex": header('{"a": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}') + b"\0" * 8,
    "a text that is a number": header('{"__metadata__": {"server-round": 3}}'),
    "a byte short": VALID[:-1],
    "half": VALID[: len(VALID) // 2],
    "a byte too many": VALID + b"\0",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_not_whole_or_not_of_the_format_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path).fitted(ARRAYS)
    assert str(caught.value).startswith(f"{path}: ")


def nothing(_: Path) -> None:
    """Leave no file."""


@pytest.mark.parametrize("make", [nothing, Path.mkdir])
def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(CheckpointError, match="expected") as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


@settings(max_examples=400, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(1, 255)), max_size=4),
    length=st.one_of(st.just(len(VALID)), st.integers(0, len(VALID))),
)
def test_mangled_bytes_are_a_checkpoint_error_or_a_checkpoint_of_the_architecture(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(VALID)
    for position, mask in flips:
        content[position] ^= mask
    path = tmp_path_factory.getbasetemp() / "mangled.safetensors"
    path.write_bytes(content[:length])
    try:
        checkpoint = load_checkpoint(path)
        assert isinstance(checkpoint, Checkpoint)
        assert all(isinstance(text, str) for pair in checkpoint.metadata.items() for text in pair)
        fitted = checkpoint.fitted(ARRAYS)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert content != VALID or length < len(VALID)
        return
    assert length == len(VALID)
    for name, array in fitted.items():
        assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
        assert np.isfinite(array).all()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_refused_and_never_opened(kind: str, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "found.safetensors"
    save_checkpoint(whole, {"a": np.zeros(3)}, {})
    if kind == "link":
        path.symlink_to(whole)
    elif kind == "pipe":
        os.mkfifo(path)  # to open it would take forever
    else:
        path.mkdir()
    with pytest.raises(CheckpointError, match=f"expected a plain file, found a {kind}"):
        load_checkpoint(path)


def test_a_file_or_a_header_beyond_the_limits_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "found.safetensors"
    path.write_bytes((checkpoint.MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="with a header of at most"):
        load_checkpoint(path)
    save_checkpoint(path, {"a": np.zeros(3)}, {})
    monkeypatch.setattr(checkpoint, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match=r"at most \d+ bytes"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", ["[" * 100_000, "[1]", "3", '{"round": 3}', '{"a": null}', "not json"])
def test_texts_that_are_none_are_refused(metadata: str, tmp_path: Path) -> None:
    path = tmp_path / "found.safetensors"
    path.write_bytes(save({"a": np.zeros(3, np.float32)}, {"metadata": metadata}))
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        load_checkpoint(path)
