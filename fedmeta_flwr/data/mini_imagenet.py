"""mini-ImageNet: 100 classes of ImageNet with 600 photos each and a predefined split (Vinyals et al. 2016).

Both common layouts are read: the split files of Ravi & Larochelle 2017 with a folder of photos, and the three pickles
of Ren et al. 2018. Nothing is downloaded, because ImageNet's terms require users to download it themselves.
"""

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedmeta_flwr.data.archives import content_digest, read_entries
from fedmeta_flwr.data.photos import decode_photo, square_photo
from fedmeta_flwr.data.restricted_pickle import PickledArray, read_pickle
from fedmeta_flwr.data.safe_files import list_folder, read_file, refuse_links
from fedmeta_flwr.data.store import (
    SPLIT_NAMES,
    BuiltDataset,
    DatasetError,
    ImageDataset,
    cache_key,
    cached_dataset,
    is_text,
    scratch_images,
)
from fedmeta_flwr.plain_text import TextError, decoded

NUM_CLASSES = {"train": 64, "val": 16, "test": 20}
NUM_PHOTOS = 600

_LOADER_VERSION = 1
_ARCHIVE = "mini-imagenet.zip"
_LISTS = tuple(f"{split}.csv" for split in SPLIT_NAMES)
_LISTED = ("images", *_LISTS)
_PICKLES = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLIT_NAMES)
_OTHER_NAMES = {"mini-imagenet-cache-val.pkl": "mini-imagenet-cache-validation.pkl"}  # as in learn2learn 0.2.0
_HEADER = ["filename", "label"]
_MAX_LIST_BYTES = 2**23  # 8 MiB, the names of 250,000 photos; in memory, a parsed list takes up to 50 times as much
_ENTRY = re.compile(r"(?:[^/]+/)?(?:images/(?P<photo>[^/]+)|(?P<list>(?:train|val|test)\.csv))")  # maybe in a folder

_Members = Mapping[str, Mapping[str, Sequence[Any]]]
"""By split, then by class, its photos: file names or rows."""

_logger = logging.getLogger(__name__)


def load_mini_imagenet(data_dir: Path | None, cache_dir: Path, image_size: int = 84) -> ImageDataset:
    """Load mini-ImageNet, or other photos in its layout.

    Parameters
    ----------
    data_dir
        Folder with one of these layouts:

        - ``images/<name>.jpg`` and ``train.csv``, ``val.csv``, ``test.csv`` (header ``filename,label``);
        - the same as an archive ``mini-imagenet.zip``, which is preferred if both exist;
        - ``mini-imagenet-cache-{train,val,test}.pkl``, with ``image_data`` (uint8 of shape (photos, height, width, 3))
          and ``class_dict`` (class name to rows). The second may be called ``mini-imagenet-cache-validation.pkl``, as
          in learn2learn 0.2.0. If there are also photos, the pickles are not read, and a log line says so.
    cache_dir
        Folder of decoded datasets.
    image_size
        Height and width to resize to, in pixels, 1 or above; a photo that is not square is cropped to its central
        square.

    Returns
    -------
    ImageDataset
        Images of shape (classes, instances, 3, image_size, image_size), RGB. Classes are sorted by split (train, val,
        test), then name, and grouped by split; instances are sorted by file name or by row.

    Raises
    ------
    DatasetError
        If a file is missing, damaged or not in the layout, a class or photo occurs in two places, or classes differ in
        their number of photos.

    Notes
    -----
    Sources: O. Vinyals et al., "Matching Networks for One Shot Learning", NIPS 2016; S. Ravi, H. Larochelle,
    "Optimization as a Model for Few-Shot Learning", ICLR 2017.
    """
    if image_size < 1:
        raise DatasetError(f"expected an image size of 1 pixel or above for mini-imagenet, found {image_size}")
    if data_dir is None:
        raise DatasetError("expected data-dir to be set for mini-imagenet, which cannot be downloaded, found none")
    try:
        files = _find_files(data_dir)
        read = _read_pickles if files[0].suffix == ".pkl" else _read_photos
        key = cache_key(_LOADER_VERSION, image_size, *(content_digest(file) for file in files))
        dataset = cached_dataset(cache_dir, "mini-imagenet", key, lambda: read(files, cache_dir, image_size))
    except OSError as error:
        raise DatasetError(f"expected folders and files that can be read, found: {error}") from error
    if Counter(dataset.groups) != NUM_CLASSES or dataset.num_instances != NUM_PHOTOS:
        _logger.warning(
            "%s holds classes %s of %d photos each, mini-ImageNet has %s of %d",
            data_dir,
            dict(Counter(dataset.groups)),
            dataset.num_instances,
            NUM_CLASSES,
            NUM_PHOTOS,
        )
    return dataset


def _find_files(data_dir: Path) -> list[Path]:
    """Return the archive, or the folder of photos and the lists, or the pickles."""
    there = {path.name for path in data_dir.iterdir()} if data_dir.is_dir() else set()
    pickles = tuple(name if name in there else _OTHER_NAMES.get(name, name) for name in _PICKLES)
    for names in ((_ARCHIVE,), _LISTED, pickles):
        if set(names) <= there:
            if names is not pickles and set(pickles) & there:
                _logger.warning("%s holds photos and pickles: the pickles are not read", data_dir)
            refuse_links(data_dir / name for name in names)
            return [data_dir / name for name in names]
    raise DatasetError(
        f"expected {_ARCHIVE}, or {', '.join(_LISTED)}, or {', '.join(_PICKLES)} in data-dir {data_dir}, found: "
        f"{list_folder(data_dir)}"
    )


def _read_photos(files: Sequence[Path], cache_dir: Path, image_size: int) -> BuiltDataset:
    """Decode the photos that the lists name: the first pass over the files reads lists and names, the second photos."""
    members = _read_lists(files)
    names, groups = _arrange(members, files)
    classes = [photos for split in members.values() for photos in split.values()]
    positions = {name: (i, j) for i, photos in enumerate(classes) for j, name in enumerate(photos)}
    images = scratch_images(cache_dir, (len(classes), len(classes[0]), 3, image_size, image_size))
    for name, content, place in _entries(files):
        if name in positions:
            images[positions[name]] = decode_photo(content, image_size, place)
    return BuiltDataset(images, names, groups)


def _entries(files: Sequence[Path]) -> Iterator[tuple[str, bytes, str]]:
    """Read photos and lists; yield the name, the content and, for errors, the place of each."""
    for file in files:
        for entry, content in [(file.name, read_file(file))] if file.suffix == ".csv" else read_entries(file):
            match = _ENTRY.fullmatch(entry)
            if match is not None:
                yield match["photo"] or match["list"], content, f"{entry!r} in {file}"


def _read_lists(files: Sequence[Path]) -> _Members:
    lists: dict[str, dict[str, list[str]]] = {}
    there: set[str] = set()
    for name, content, place in _entries(files):
        if name in there:
            raise DatasetError(f"expected each name only once, found it again: {place}")
        there.add(name)
        if name in _LISTS:
            lists[name] = _parse_list(content, place)
    if absent := [name for name in _LISTS if name not in lists]:
        raise DatasetError(f"expected {', '.join(_LISTS)} in {files[0]}, found no {', '.join(absent)}")
    for name in _LISTS:
        missing = [photo for photos in lists[name].values() for photo in photos if photo not in there]
        if missing:
            raise DatasetError(
                f"expected all photos that {name} names in {files[0]}, found no images/{missing[0]} "
                f"({len(missing)} are missing)"
            )
    _refuse_repeats([photo for classes in lists.values() for photos in classes.values() for photo in photos], files)
    return {split: lists[name] for split, name in zip(SPLIT_NAMES, _LISTS, strict=True)}


def _parse_list(content: bytes, place: str) -> dict[str, list[str]]:
    """Return the file names of each class, both sorted."""
    if len(content) > _MAX_LIST_BYTES:
        raise DatasetError(f"expected a list of at most {_MAX_LIST_BYTES} bytes, found {len(content)}: {place}")
    try:
        header, *rows = list(csv.reader(io.StringIO(decoded(content), newline=""))) or [[]]
    except (TextError, csv.Error) as error:
        raise DatasetError(f"expected a CSV file, found {place}: {error}") from error
    if header != _HEADER:
        raise DatasetError(f"expected the header {','.join(_HEADER)}, found {','.join(header)!r}: {place}")
    classes: dict[str, list[str]] = {}
    for row in filter(None, rows):
        if len(row) != 2 or not all(row):
            raise DatasetError(f"expected a file name and a label, found {','.join(row)!r}: {place}")
        classes.setdefault(row[1], []).append(row[0])
    return {label: sorted(classes[label]) for label in sorted(classes)}


def _read_pickles(files: Sequence[Path], cache_dir: Path, image_size: int) -> BuiltDataset:
    """Resize the photos of the pickles; each pickle is read twice, so that only one is in memory at a time."""
    members = {split: _open_pickle(file)[1] for split, file in zip(SPLIT_NAMES, files, strict=True)}
    names, groups = _arrange(members, files)
    instances = len(next(iter(members[SPLIT_NAMES[0]].values())))
    images = scratch_images(cache_dir, (len(names), instances, 3, image_size, image_size))
    for split, file in zip(SPLIT_NAMES, files, strict=True):
        _fill(images[groups.index(split) :], file, image_size)
    return BuiltDataset(images, names, groups)


def _fill(images: NDArray[np.uint8], file: Path, image_size: int) -> None:
    photos, classes = _open_pickle(file)
    for index, rows in enumerate(classes.values()):
        for instance, row in enumerate(rows):
            images[index, instance] = square_photo(Image.fromarray(photos[row]), image_size)


def _open_pickle(file: Path) -> tuple[NDArray[np.uint8], dict[str, list[int]]]:
    """Return the photos, and the rows of each class, both sorted."""
    content = read_pickle(file)
    fields = {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    photos, classes = fields.get("image_data"), fields.get("class_dict")
    if not isinstance(photos, PickledArray) or not isinstance(classes, dict):
        raise DatasetError(f"expected a dict with an array image_data and a dict class_dict, found another: {file}")
    values = photos.values
    if values.dtype != np.uint8 or values.ndim != 4 or values.shape[3] != 3 or 0 in values.shape:
        raise DatasetError(
            f"expected image_data as uint8 of shape (photos, height, width, 3), found {values.dtype} of shape "
            f"{values.shape}: {file}"
        )
    rows = {_text(name): _rows(found, len(values), f"{_text(name)} in {file}") for name, found in classes.items()}
    _refuse_repeats([row for found in rows.values() for row in found], [file])
    return values, {name: rows[name] for name in sorted(rows)}


def _rows(found: object, num_photos: int, place: str) -> list[int]:
    rows = found
    if isinstance(found, PickledArray) and found.values.size <= num_photos:  # a longer one may fill memory as a list
        rows = found.values.tolist()
    if isinstance(rows, list | tuple) and rows and all(type(row) is int and 0 <= row < num_photos for row in rows):
        return sorted(rows)
    raise DatasetError(f"expected rows from 0 to {num_photos - 1} in class_dict, found none or others for {place}")


def _text(name: object) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _refuse_repeats(photos: Sequence[str] | Sequence[int], files: Sequence[Path]) -> None:
    for photo, count in Counter(photos).most_common(1):
        if count > 1:
            raise DatasetError(f"expected each photo only once, found {photo} {count} times in {_place(files)}")


def _arrange(members: _Members, files: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return class names and their splits, after a check that classes are disjoint and have equally many photos."""
    classes = [(name, split, len(photos)) for split in members for name, photos in members[split].items()]
    splits = {name: split for name, split, _ in classes}
    usual = Counter(count for *_, count in classes).most_common(1)
    for name, split, count in classes:
        if not is_text(name):
            raise DatasetError(f"expected class names that are text in UTF-8, found {name}: {_place(files)}")
        if splits[name] != split:
            raise DatasetError(f"expected each class in only one split, found {name} in two: {_place(files)}")
        if count != usual[0][0]:
            raise DatasetError(
                f"expected {usual[0][0]} photos of each class, as most have, found {count} of {name} ({split}) in "
                f"{_place(files)}"
            )
    if empty := [split for split in SPLIT_NAMES if split not in splits.values()]:
        raise DatasetError(f"expected classes in each split, found none in {', '.join(empty)}: {_place(files)}")
    return tuple(splits), tuple(splits.values())


def _place(files: Sequence[Path]) -> Path:
    return files[0] if len(files) == 1 else files[0].parent
