import hashlib
import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, cache_key, cached_dataset

KEY = cache_key(1, "source")
FOLDER = f"small-{KEY[:16]}"
NAMES = ("A/1", "A/2", "B/1")
GROUPS = ("A", "A", "B")


def _built(images: np.ndarray) -> BuiltDataset:
    return BuiltDataset(images, NAMES, GROUPS)


def _never() -> NoReturn:
    raise AssertionError("built although it is cached")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _assert_same(dataset: ImageDataset, images: np.ndarray) -> None:
    np.testing.assert_array_equal(dataset.images, images)
    assert (dataset.name, dataset.class_names, dataset.groups) == ("small", NAMES, GROUPS)


def test_a_dataset_comes_back_from_the_cache_as_it_was_built(tmp_path: Path, small_images: np.ndarray) -> None:
    first = cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images))
    second = cached_dataset(tmp_path, "small", KEY, _never)
    _assert_same(first, small_images)
    _assert_same(second, small_images)
    assert first.fingerprint == second.fingerprint
    assert (second.num_classes, second.num_instances, second.images.shape) == (3, 2, (3, 2, 1, 4, 5))


def test_images_are_memory_mapped_and_read_only(tmp_path: Path, small_images: np.ndarray) -> None:
    images = cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images)).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_the_cache_holds_the_finished_dataset_and_nothing_else(tmp_path: Path, small_images: np.ndarray) -> None:
    cached_dataset(tmp_path / "new" / "cache", "small", KEY, lambda: _built(small_images))
    assert _files(tmp_path / "new" / "cache") == [FOLDER, f"{FOLDER}/images.npy", f"{FOLDER}/index.json"]


def test_the_fingerprint_is_the_sha256_of_shape_names_groups_and_pixels(
    tmp_path: Path, small_images: np.ndarray
) -> None:
    found = cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images)).fingerprint
    header = '[[3, 2, 1, 4, 5], ["A/1", "A/2", "B/1"], ["A", "A", "B"]]'
    assert found == hashlib.sha256(header.encode() + small_images.tobytes()).hexdigest()


def test_the_fingerprint_does_not_depend_on_memory_layout(tmp_path: Path, small_images: np.ndarray) -> None:
    plain = cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images))
    other = cached_dataset(tmp_path, "small", cache_key(2), lambda: _built(np.asfortranarray(small_images)))
    _assert_same(other, small_images)
    assert plain.fingerprint == other.fingerprint


def test_a_failing_build_passes_its_error_on_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> NoReturn:
        raise DatasetError("no such thing")

    with pytest.raises(DatasetError, match="no such thing"):
        cached_dataset(tmp_path, "small", KEY, fail)
    assert _files(tmp_path) == []


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=rf"{tmp_path / 'file' / 'cache'} \(cache-dir\), found: "):
        cached_dataset(tmp_path / "file" / "cache", "small", KEY, _never)


def test_a_full_disk_is_reported_with_the_cache_folder_and_leaves_nothing(
    tmp_path: Path, small_images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DatasetError, match=f"{tmp_path}.*No space left"):
        cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images))
    assert _files(tmp_path) == []


def _truncate_images(folder: Path) -> None:
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(content[:-1])


def _lengthen_images(folder: Path) -> None:
    with (folder / "images.npy").open("ab") as file:
        file.write(b"x")


def _change_index(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps(index | changes))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "index.json").write_text("{"),
        lambda folder: (folder / "index.json").write_text("[]"),
        lambda folder: np.save(folder / "images.npy", np.zeros((3, 2, 1, 5, 4), np.uint8)),
        lambda folder: np.save(folder / "images.npy", np.zeros((3, 2, 1, 4, 5), np.int8)),
        _truncate_images,
        _lengthen_images,
        _change_index(class_names=["A/1", "A/2"]),
        _change_index(class_names=["A/1", "A/1", "B/1"]),
        _change_index(groups=["A"]),
        _change_index(key=cache_key("another with the same first digits")),
        shutil.rmtree,
    ],
)
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, small_images: np.ndarray, damage: Callable[[Path], None]) -> None:
    cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images))
    damage(tmp_path / FOLDER)
    builds: list[int] = []

    def build() -> BuiltDataset:
        builds.append(1)
        return _built(small_images)

    _assert_same(cached_dataset(tmp_path, "small", KEY, build), small_images)
    assert builds == [1]
    _assert_same(cached_dataset(tmp_path, "small", KEY, _never), small_images)
    assert _files(tmp_path) == [FOLDER, f"{FOLDER}/images.npy", f"{FOLDER}/index.json"]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["images.npy", "index.json"]), st.integers(0, 127), st.binary(max_size=8), st.booleans())
@example("images.npy", 11, b"{", False).via("NumPy's header parser raises TokenError")
def test_no_damage_to_a_head_makes_the_cache_crash(file: str, place: int, noise: bytes, cut: bool) -> None:
    images = np.zeros((3, 2, 1, 4, 5), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        cached_dataset(Path(folder), "small", KEY, lambda: _built(images))
        path = Path(folder, FOLDER, file)
        content = path.read_bytes()
        path.write_bytes(content[:place] + noise + (b"" if cut else content[place + len(noise) :]))
        dataset = cached_dataset(Path(folder), "small", KEY, lambda: _built(images))
        assert dataset.images.shape == images.shape


def test_the_dataset_that_another_builder_finished_first_is_kept(tmp_path: Path, small_images: np.ndarray) -> None:
    def build_late() -> BuiltDataset:
        cached_dataset(tmp_path, "small", KEY, lambda: _built(small_images))
        return _built(np.zeros_like(small_images))

    _assert_same(cached_dataset(tmp_path, "small", KEY, build_late), small_images)
    assert _files(tmp_path) == [FOLDER, f"{FOLDER}/images.npy", f"{FOLDER}/index.json"]


def _build_many_times(folder: Path, barrier: Barrier) -> None:
    images = np.arange(3 * 2 * 20, dtype=np.uint8).reshape(3, 2, 1, 4, 5)
    for number in range(20):
        barrier.wait(30)
        dataset = cached_dataset(folder, "small", cache_key(number), lambda: _built(images))
        np.testing.assert_array_equal(dataset.images, images)


@pytest.mark.parametrize("damaged", [False, True])
def test_builders_at_the_same_time_all_get_the_dataset(tmp_path: Path, damaged: bool) -> None:
    for number in range(20 if damaged else 0):
        (tmp_path / f"small-{cache_key(number)[:16]}").mkdir()
        (tmp_path / f"small-{cache_key(number)[:16]}" / "index.json").write_text("damaged")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    builders = [context.Process(target=_build_many_times, args=(tmp_path, barrier)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"small-{cache_key(number)[:16]}" for number in range(20)
    )


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (np.zeros((2, 1, 1, 4, 4), np.float32), ("a", "b")),
        (np.zeros((2, 1, 4, 4), np.uint8), ("a", "b")),
        (np.zeros((2, 0, 1, 4, 4), np.uint8), ("a", "b")),
        (np.zeros((2, 1, 1, 4, 4), np.uint8), ("a", "a")),
        (np.zeros((2, 1, 1, 4, 4), np.uint8), ("a",)),
    ],
)
def test_what_is_not_a_dataset_is_refused(images: np.ndarray, names: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match="expected"):
        BuiltDataset(images, names, names)


@pytest.mark.parametrize("name", ["caf\udce9", "\ud800"])
def test_a_name_that_is_no_utf_8_is_refused_in_a_message_that_is(small_images: np.ndarray, name: str) -> None:
    for names, groups in (((*NAMES[:2], name), GROUPS), (NAMES, (*GROUPS[:2], name))):
        with pytest.raises(DatasetError, match=r"text in UTF-8, found (caf\\xe9|\\x00)$") as caught:
            BuiltDataset(small_images, names, groups)
        str(caught.value).encode()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("train", "val", "test"), ((0,), (2,))),
        (("train", "train", "test"), ((0, 1), (2,))),
        (("train", "car", "van"), (None, None)),  # classes of pictures, each a separate group
        (("A", "A", "B"), (None, None)),
    ],
)
def test_groups_called_train_and_test_are_a_split(
    groups: tuple[str, ...], expected: tuple[object, object], tmp_path: Path, small_images: np.ndarray
) -> None:
    dataset = cached_dataset(tmp_path, "small", KEY, lambda: BuiltDataset(small_images, NAMES, groups))
    assert (dataset.meta_train_classes, dataset.meta_test_classes) == expected


def test_a_split_with_a_third_group_of_another_name_is_refused(tmp_path: Path, small_images: np.ndarray) -> None:
    groups = ("train", "valid", "test")
    dataset = cached_dataset(tmp_path, "small", KEY, lambda: BuiltDataset(small_images, NAMES, groups))
    with pytest.raises(DatasetError, match=r"expected only groups train, val, test .*found 'test', 'train', 'valid'$"):
        _ = dataset.meta_train_classes


def test_photos_with_three_channels_are_welcome(tmp_path: Path) -> None:
    photos = np.zeros((3, 2, 3, 4, 4), np.uint8)
    assert cached_dataset(tmp_path, "small", KEY, lambda: _built(photos)).images.shape[2:] == (3, 4, 4)


@given(
    st.lists(st.one_of(st.integers(), st.text()), max_size=4), st.lists(st.one_of(st.integers(), st.text()), max_size=4)
)
def test_different_parts_give_different_keys(some: list[int | str], others: list[int | str]) -> None:
    assert (cache_key(*some) == cache_key(*others)) == (some == others)
