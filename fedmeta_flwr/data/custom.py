"""A dataset of the user's own: whatever a function of theirs returns."""

from pathlib import Path

from fedmeta_flwr.config.registry import make
from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, in_memory


def load_own_dataset(name: str, data_dir: Path | None, cache_dir: Path, image_size: int) -> ImageDataset:
    """Call the user's own function.

    Every process that needs the images calls it: the same arguments must give the same images.

    Parameters
    ----------
    name
        ``"module:attribute"`` of what takes the other arguments, and returns a `BuiltDataset`, which stays in each
        process's memory, or an `ImageDataset`, such as `fedmeta_flwr.data.store.cached_dataset` returns.
    data_dir
        Folder of the dataset's files, if any.
    cache_dir
        Folder of decoded datasets.
    image_size
        Height and width that the images must have, in pixels.

    Raises
    ------
    DatasetError
        If the images have another size.
    RegistryError
        If the function cannot be used.
    """
    built: BuiltDataset = make(
        "dataset",
        name,
        BuiltDataset,
        {"data_dir": data_dir, "cache_dir": cache_dir, "image_size": image_size},
    )
    if built.images.shape[3:] != (image_size, image_size):
        raise DatasetError(
            f"dataset: expected images of {image_size} x {image_size} pixels (image-size) from {name!r}, "
            f"found {built.images.shape[3]} x {built.images.shape[4]}"
        )
    return built if isinstance(built, ImageDataset) else in_memory(built, name)
