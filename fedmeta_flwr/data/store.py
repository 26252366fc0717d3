"""The datasets that loaders return, and their cache on disk.

A dataset is a dense uint8 array over (class, instance), so an episode is plain indexing. It is decoded once, stored as
``images.npy``, and then memory-mapped, so all clients on a machine share one copy.
"""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from fedmeta_flwr.records import atomic_file, flush_folder, write_whole

SPLIT_NAMES = ("train", "val", "test")
"""Groups of the classes of a dataset with a predefined split."""

_IMAGES = "images.npy"
_INDEX = "index.json"
# Exceptions when a damaged file is read; the last three are from NumPy's parsing of a header.
_DAMAGES = (OSError, ValueError, LookupError, TypeError, EOFError, SyntaxError, OverflowError, TokenError)
_SURROGATE = re.compile("[\ud800-\udfff]")  # represents a byte that is not text in a file name


class DatasetError(ValueError):
    """A dataset that cannot be read, built or cached; says what was expected and found, and where.

    Names that are not UTF-8 are shown with their bytes escaped, so that every terminal and file can hold the message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", message))


def is_text(name: str) -> bool:
    """Return whether a name can be written as UTF-8; the names of classes must be, because result files hold them."""
    return _SURROGATE.search(name) is None


@dataclass(frozen=True, eq=False)
class BuiltDataset:
    """A dataset that a loader has built in memory, before it is stored.

    Parameters
    ----------
    images
        uint8 of shape (classes, instances, channels, height, width). Drawings are bright on dark: 0 is the
        background, 255 is ink.
    class_names
        One name per class, all different.
    groups
        One group per class, such as its alphabet, or one of `SPLIT_NAMES`.

    Raises
    ------
    DatasetError
        If the array has another type or shape or is empty, or the names do not match it or are not text in UTF-8.
    """

    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the array and the names."""
        shape, dtype = self.images.shape, self.images.dtype
        if dtype != np.uint8 or len(shape) != 5 or 0 in shape:
            raise DatasetError(
                "expected uint8 images of shape (classes, instances, channels, height, width), each above 0, "
                f"found {dtype} of shape {shape}"
            )
        if not len(self.class_names) == len(self.groups) == len(set(self.class_names)) == shape[0]:
            raise DatasetError(
                f"expected {shape[0]} different class names and as many groups, found {len(self.class_names)} "
                f"names ({len(set(self.class_names))} different) and {len(self.groups)} groups"
            )
        for name in (*self.class_names, *self.groups):
            if not is_text(str(name)):  # a custom dataset may have numbers
                raise DatasetError(f"expected names of classes and groups that are text in UTF-8, found {name}")


@dataclass(frozen=True, eq=False)
class ImageDataset(BuiltDataset):
    """Images of many classes with equally many instances each, memory-mapped and read-only.

    Parameters
    ----------
    images, class_names, groups
        As in `BuiltDataset`.
    name
        The dataset's name, such as ``"omniglot"``.
    fingerprint
        SHA-256 of pixels, shape, class names and groups, as 64 hex digits. Equal fingerprints mean equal data, even if
        it comes from different files.
    """

    name: str
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.images.shape[0])

    @property
    def num_instances(self) -> int:
        """Number of images of each class."""
        return int(self.images.shape[1])

    @property
    def meta_train_classes(self) -> tuple[int, ...] | None:
        """Meta-training classes of the dataset's predefined split; None if it has no such split."""
        return self._predefined("train")

    @property
    def meta_test_classes(self) -> tuple[int, ...] | None:
        """Meta-testing classes of the dataset's predefined split; None if it has no such split."""
        return self._predefined("test")

    def _predefined(self, split: str) -> tuple[int, ...] | None:
        names = set(self.groups)
        if not {"train", "test"} <= names:
            return None
        if not names <= set(SPLIT_NAMES):
            raise DatasetError(
                f"expected only groups {', '.join(SPLIT_NAMES)} if there are groups train and test, "
                f"found {', '.join(map(repr, sorted(names)))}"
            )
        return tuple(index for index, group in enumerate(self.groups) if group == split)


def default_cache_dir() -> Path:
    """Return the user's cache folder for this project, at the operating system's usual place."""
    return Path(user_cache_dir("fedmeta_flwr"))


def cache_key(*parts: int | str) -> str:
    """Return a hash of everything that a stored dataset depends on.

    Parameters
    ----------
    *parts
        A digest of the source, the loader's version, and its parameters.

    Returns
    -------
    str
        64 hex digits.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def scratch_images(cache_dir: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array of zeros on disk, for the images of a dataset that may be larger than memory.

    Parameters
    ----------
    cache_dir
        An existing folder with enough space, such as the one passed to `cached_dataset`.
    shape
        As in `BuiltDataset`.

    Returns
    -------
    NDArray
        uint8 zeros, memory-mapped to an unnamed file, which is removed together with the array.

    Raises
    ------
    DatasetError
        If the folder cannot be written to or has too little space.
    """
    try:
        with tempfile.TemporaryFile(dir=cache_dir) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk raises an error here, but crashes a later write
                os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise _unwritable(cache_dir, error) from error


def cached_dataset(cache_dir: Path, name: str, key: str, build: Callable[[], BuiltDataset]) -> ImageDataset:
    """Return the stored dataset of a key; build and store it first if it is missing or damaged.

    A dataset is written to a temporary folder and then renamed, so no reader sees an incomplete one. If several
    processes build it at the same time, the first one's is kept. Structure and sizes are checked in every call, and a
    dataset that fails the check is rebuilt. Pixels are not hashed again, because that would read every page.

    Parameters
    ----------
    cache_dir
        The cache folder, created if necessary. The dataset is stored in ``<name>-<first 16 digits of key>`` in it.
    name
        The dataset's name.
    key
        From `cache_key`.
    build
        Builds the dataset if it is missing or damaged. Its exceptions are not caught.

    Returns
    -------
    ImageDataset
        Memory-mapped from the cache folder.

    Raises
    ------
    DatasetError
        If the dataset cannot be stored, because the folder is read-only or the disk is full, for instance.
    """
    place = cache_dir / f"{name}-{key[:16]}"
    stored = _open_stored(place, key)
    if stored is not None:
        return stored
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=cache_dir))
    except OSError as error:
        raise _unwritable(cache_dir, error) from error
    try:
        return _store(build(), name, key, scratch, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def in_memory(built: BuiltDataset, name: str) -> ImageDataset:
    """Return a named dataset that is not stored on disk; its images become read-only."""
    images = np.ascontiguousarray(built.images)
    images.flags.writeable = False
    names, groups = built.class_names, built.groups
    return ImageDataset(images, names, groups, name, _fingerprint(images, names, groups))


def _store(built: BuiltDataset, name: str, key: str, scratch: Path, place: Path) -> ImageDataset:
    try:
        _write(built, name, key, scratch / "new")
        return _install(scratch / "new", place, key)
    except OSError as error:
        raise _unwritable(place.parent, error) from error


def _unwritable(cache_dir: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"expected a cache folder that can be written to, with space left, at {cache_dir} (cache-dir), found: {error}"
    )


def _open_stored(place: Path, key: str) -> ImageDataset | None:
    """Return the dataset stored in a folder; None if it is missing, damaged or of another key."""
    try:
        index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
        images = np.lib.format.open_memmap(place / _IMAGES, mode="r")
        if index["key"] != key or list(images.shape) != index["shape"] or not images.flags.c_contiguous:
            return None
        if (place / _IMAGES).stat().st_size != index["images_bytes"]:
            return None
        names, groups = tuple(index["class_names"]), tuple(index["groups"])
        return ImageDataset(images, names, groups, index["name"], index["fingerprint"])
    except _DAMAGES:
        return None


def _write(built: BuiltDataset, name: str, key: str, folder: Path) -> None:
    folder.mkdir()
    images = np.ascontiguousarray(built.images)
    with atomic_file(folder / _IMAGES) as file:
        np.save(file, images, allow_pickle=False)
        images_bytes = file.tell()
    index = {
        "name": name,
        "key": key,
        "fingerprint": _fingerprint(images, built.class_names, built.groups),
        "shape": images.shape,
        "images_bytes": images_bytes,
        "class_names": built.class_names,
        "groups": built.groups,
    }
    write_whole(folder / _INDEX, json.dumps(index))


def _fingerprint(images: NDArray[np.uint8], class_names: tuple[str, ...], groups: tuple[str, ...]) -> str:
    digest = hashlib.sha256(json.dumps([images.shape, class_names, groups]).encode())
    digest.update(images.reshape(-1).data)
    return digest.hexdigest()


def _install(new: Path, place: Path, key: str) -> ImageDataset:
    """Rename the new dataset to its final folder; keep a valid one that is already there, overwrite a damaged one.

    A damaged one is overwritten file by file, each in one step. Several processes may do so at the same time, because
    all of them write the same content for a key.
    """
    try:
        new.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        stored = _open_stored(place, key)
        if stored is not None:
            return stored
        for file in (_IMAGES, _INDEX):
            (new / file).replace(place / file)
        flush_folder(place)
    flush_folder(place.parent)
    stored = _open_stored(place, key)
    if stored is None:
        raise OSError(f"{place} is damaged right after it was written")
    return stored
