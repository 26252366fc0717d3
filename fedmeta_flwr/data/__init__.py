"""Datasets: images of many classes, decoded once and memory-mapped."""

from pathlib import Path

from fedmeta_flwr.config.registry import is_custom
from fedmeta_flwr.data.archives import read_entries
from fedmeta_flwr.data.custom import load_own_dataset
from fedmeta_flwr.data.image_files import is_photo, is_skipped
from fedmeta_flwr.data.image_folder import load_image_folder
from fedmeta_flwr.data.mini_imagenet import load_mini_imagenet
from fedmeta_flwr.data.omniglot import load_omniglot
from fedmeta_flwr.data.photos import decode_photo
from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, default_cache_dir
from fedmeta_flwr.data.strokes import load_strokes

__all__ = [
    "DATASET_NAMES",
    "BuiltDataset",
    "DatasetError",
    "ImageDataset",
    "decode_photo",
    "default_cache_dir",
    "is_photo",
    "is_skipped",
    "load_dataset",
    "load_image_folder",
    "load_mini_imagenet",
    "load_omniglot",
    "load_strokes",
    "read_entries",
]

DATASET_NAMES = ("image-folder", "mini-imagenet", "omniglot", "strokes")


def load_dataset(
    name: str,
    *,
    data_dir: Path | None,
    cache_dir: Path | None,
    image_size: int,
    strokes_classes: int,
    strokes_instances: int,
    strokes_seed: int,
) -> ImageDataset:
    """Load a dataset by name.

    Parameters
    ----------
    name
        One of `DATASET_NAMES`, or ``"module:attribute"``, see `fedmeta_flwr.data.custom`.
    data_dir
        Folder of the dataset's files; None downloads them, which ``"omniglot"`` alone can. Unused by ``"strokes"``.
    cache_dir
        Folder of decoded datasets; None is `default_cache_dir`.
    image_size
        Height and width, in pixels.
    strokes_classes, strokes_instances, strokes_seed
        Size and seed of ``"strokes"``, see `load_strokes`. Unused by the others.

    Returns
    -------
    ImageDataset
        Memory-mapped, read-only.

    Raises
    ------
    DatasetError
        If there is no dataset of that name, or it cannot be loaded.
    RegistryError
        If one's own cannot be used.
    """
    cache = default_cache_dir() if cache_dir is None else cache_dir
    if is_custom(name):
        return load_own_dataset(name, data_dir, cache, image_size)
    match name:
        case "image-folder":
            return load_image_folder(data_dir, cache, image_size)
        case "mini-imagenet":
            return load_mini_imagenet(data_dir, cache, image_size)
        case "omniglot":
            return load_omniglot(data_dir, cache, image_size)
        case "strokes":
            return load_strokes(strokes_classes, strokes_instances, image_size, strokes_seed, cache)
    raise DatasetError(f"expected dataset to be one of {', '.join(DATASET_NAMES)}, found {name!r}")
