"""Loads the images of a dataset, given its name."""

from pathlib import Path
from typing import Any

from fedmeta_flwr.config.registry import make
from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, default_cache_dir, in_memory


def load_dataset(
    name: str,
    options: str = "",
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
        The name of a built-in dataset, or ``"module:attribute"`` of a callable that takes `data_dir`, `cache_dir` and
        `image_size`. The callable returns a `BuiltDataset`, which stays in each process's memory, or an `ImageDataset`,
        such as from `fedmeta_flwr.data.store.cached_dataset`. Every process that needs the images calls it, so the
        same arguments must give the same images.
    options
        Further arguments, as a JSON object; empty: none.
    data_dir
        Folder of the dataset's files; None downloads them, which only ``"omniglot"`` supports. Unused by ``"strokes"``.
    cache_dir
        Folder of decoded datasets; None means `default_cache_dir`.
    image_size
        Height and width, in pixels.
    strokes_classes, strokes_instances, strokes_seed
        Size and seed of ``"strokes"``; see `load_strokes`. Unused by the others.

    Returns
    -------
    ImageDataset
        The images, read-only.

    Raises
    ------
    DatasetError
        If it cannot be loaded, or its images do not have `image_size`.
    RegistryError
        If there is no such dataset, or it cannot be used.
    """
    arguments: dict[str, Any] = {
        "cache_dir": default_cache_dir() if cache_dir is None else cache_dir,
        "image_size": image_size,
    }
    if name == "strokes":  # drawn by a procedure, without files
        arguments |= {"num_classes": strokes_classes, "num_instances": strokes_instances, "seed": strokes_seed}
    else:
        arguments["data_dir"] = data_dir
    built: BuiltDataset = make("dataset", name, BuiltDataset, arguments, options)
    if built.images.shape[3:] != (image_size, image_size):
        raise DatasetError(
            f"dataset: expected images of {image_size} x {image_size} pixels (image-size) from {name!r}, "
            f"found {built.images.shape[3]} x {built.images.shape[4]}"
        )
    return built if isinstance(built, ImageDataset) else in_memory(built, name)
