"""Image folder: custom images in a folder of class folders."""

import logging
from collections.abc import Iterable
from pathlib import Path

from fedmeta_flwr.data.archives import content_digest
from fedmeta_flwr.data.image_files import is_photo, is_skipped
from fedmeta_flwr.data.photos import decode_photo
from fedmeta_flwr.data.safe_files import list_folder, read_file, refuse_links
from fedmeta_flwr.data.store import (
    BuiltDataset,
    DatasetError,
    ImageDataset,
    cache_key,
    cached_dataset,
    is_text,
    scratch_images,
)

FEWEST_IMAGES = 10  # per class, as in the strokes data set

_LOADER_VERSION = 2  # version 1 left out images with less common suffixes

_logger = logging.getLogger(__name__)


def load_image_folder(data_dir: Path | None, cache_dir: Path, image_size: int = 84) -> ImageDataset:
    """Load a folder of class folders, such as ``<data_dir>/cat/1.png``.

    Parameters
    ----------
    data_dir
        The folder. Every folder in it is a class. Files next to the class folders are not read. In a class folder,
        hidden and system files are skipped, and files without the suffix of an image are logged
        (`fedmeta_flwr.data.image_files`).
    cache_dir
        Folder of decoded datasets.
    image_size
        Height and width to resize to, in pixels, 1 or above; an image that is not square is cropped to its central
        square.

    Returns
    -------
    ImageDataset
        Images of shape (classes, instances, 3, image_size, image_size), RGB. Classes are sorted by name, and each is a
        separate group; instances are sorted by file name. Each class keeps its first n images, where n is the number of
        images of the smallest class; the number of images left out is logged.

    Raises
    ------
    DatasetError
        If there is no such folder, a class has fewer than `FEWEST_IMAGES` images, an image is not directly in a class
        folder or does not decode, the name of a class is not UTF-8, or the folder contains a link, a pipe or a device.
    """
    if image_size < 1:
        raise DatasetError(f"expected an image size of 1 pixel or above for image-folder, found {image_size}")
    if data_dir is None:
        raise DatasetError("expected data-dir to be set to a folder of class folders for image-folder, found none")
    try:
        if not data_dir.is_dir():
            raise DatasetError(
                f"expected a folder of class folders at data-dir {data_dir}, found {list_folder(data_dir)}"
            )
        classes = _cut_to_smallest(_list_classes(data_dir), data_dir)
        key = cache_key(_LOADER_VERSION, image_size, content_digest(data_dir))
        return cached_dataset(cache_dir, "image-folder", key, lambda: _read_images(classes, cache_dir, image_size))
    except OSError as error:
        raise DatasetError(f"expected folders and files that can be read, found: {error}") from error


def _list_classes(data_dir: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, both sorted by name."""
    _refuse_images_between(data_dir, "a class folder")
    folders = _folders(data_dir)
    refuse_links(folders)
    for folder in folders:
        if not is_text(folder.name):
            raise DatasetError(f"expected class folders whose names are text in UTF-8, found {folder}")
        for inner in _folders(folder):
            _refuse_images_between(inner, f"the class folder {folder}")
    _warn_of_unread_files(folders, data_dir)
    return {folder.name: sorted(path for path in folder.iterdir() if is_photo(path.name)) for folder in folders}


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not is_skipped(path.name))


def _refuse_images_between(folder: Path, place: str) -> None:
    stray = sorted(path for path in folder.iterdir() if is_photo(path.name))
    if stray:
        raise DatasetError(f"expected images directly in {place}, found {stray[0]}")


def _warn_of_unread_files(folders: Iterable[Path], data_dir: Path) -> None:
    files = sorted(path for folder in folders for path in folder.iterdir() if not path.is_dir())
    unread = [path for path in files if not is_photo(path.name) and not is_skipped(path.name)]
    if unread:
        _logger.warning(
            "%s: %d files are not read, because they do not have the suffix of an image, such as %s",
            data_dir,
            len(unread),
            unread[0].relative_to(data_dir),
        )


def _cut_to_smallest(classes: dict[str, list[Path]], data_dir: Path) -> dict[str, list[Path]]:
    """Cut all classes to the number of images of the smallest one."""
    if not classes:
        raise DatasetError(f"expected class folders in data-dir {data_dir}, found none")
    for name, files in classes.items():
        if len(files) < FEWEST_IMAGES:
            raise DatasetError(
                f"expected at least {FEWEST_IMAGES} images of each class, found {len(files)} in {data_dir / name}"
            )
    fewest = min(len(files) for files in classes.values())
    left_out = {name: len(files) - fewest for name, files in classes.items() if len(files) > fewest}
    if left_out:
        counts = ", ".join(f"{count} of {name}" for name, count in left_out.items())
        _logger.warning("%s: every class keeps its first %d images; left out are %s", data_dir, fewest, counts)
    return {name: files[:fewest] for name, files in classes.items()}


def _read_images(classes: dict[str, list[Path]], cache_dir: Path, image_size: int) -> BuiltDataset:
    instances = len(next(iter(classes.values())))
    images = scratch_images(cache_dir, (len(classes), instances, 3, image_size, image_size))
    for index, files in enumerate(classes.values()):
        for instance, file in enumerate(files):
            images[index, instance] = decode_photo(read_file(file), image_size, str(file))
    return BuiltDataset(images, tuple(classes), tuple(classes))
