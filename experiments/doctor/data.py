"""Check the files of a data set with the project's loaders: present, readable, and the right ones."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.doctor.finding import Finding
from experiments.settings import CONFIGS_DIR, read_defaults, read_settings

_FINGERPRINTS = {("omniglot", 28): "43f638b9c14fee9159af72a1d79c4f65acaf03d2c3f4a0573a35aa85de3228ce"}
"""Fingerprints of the official data, by name and side of an image in pixels."""
_TELLING = {"omniglot": ("images_background*", "images_evaluation*"), "mini-imagenet": ("mini-imagenet*", "train.csv")}


def check_data(dataset: str | None, data_dir: Path | None, cache_dir: Path | None, app_dir: Path) -> Iterator[Finding]:
    """Load a data set as a run does; the first time, it is decoded into the cache. Nothing is downloaded.

    Parameters
    ----------
    dataset : str or None
        Its name; None: guessed from the files in `data_dir`.
    data_dir : Path or None
        Folder with its files.
    cache_dir : Path or None
        Folder for decoded data sets; None: the user's cache folder.
    app_dir : Path
        Folder of the Flower App, with the defaults.
    """
    from fedmeta_flwr.data import default_cache_dir

    if data_dir is not None and not data_dir.is_dir():
        yield Finding("data", "wrong", f"no folder {data_dir}", "give the folder that holds the files to --data-dir")
        return
    dataset = dataset or (_guess(data_dir) if data_dir else "strokes")
    if dataset is None:
        yield Finding("data", "wrong", f"no known data set in {data_dir}", "name it with --dataset")
        return
    cache = cache_dir or default_cache_dir()
    if dataset == "omniglot" and data_dir is None:
        data_dir = cache / "downloads"
        if not data_dir.is_dir():
            yield Finding("data", "ok", "omniglot has not been downloaded yet; the first run does that")
            return
    yield from _load(dataset, data_dir, cache, app_dir)


def _guess(data_dir: Path) -> str | None:
    return next((name for name, patterns in _TELLING.items() for one in patterns if any(data_dir.glob(one))), None)


def _load(dataset: str, data_dir: Path | None, cache: Path, app_dir: Path) -> Iterator[Finding]:
    from fedmeta_flwr.data import DatasetError, load_dataset

    settings = read_defaults(app_dir) | read_settings(CONFIGS_DIR / "reproduce" / f"{dataset}.toml")
    size = settings["image-size"]
    try:
        with _logged() as remarks:
            found = load_dataset(
                dataset,
                data_dir=data_dir,
                cache_dir=cache,
                image_size=size,
                strokes_classes=settings["strokes-classes"],
                strokes_instances=settings["strokes-drawers"],
                strokes_seed=settings["strokes-seed"],
            )
    except DatasetError as error:
        yield Finding("data", "wrong", f"{dataset}: {error}", "get the files again, or choose another folder")
        return
    text = (
        f"{dataset}: {found.num_classes} classes of {found.num_instances} images, fingerprint {found.fingerprint[:12]}"
    )
    if found.fingerprint != _FINGERPRINTS.get((dataset, size), found.fingerprint):
        remarks.append(f"the official data has fingerprint {_FINGERPRINTS[dataset, size][:12]}")
    if remarks:
        yield Finding("data", "warning", "; ".join([text, *remarks]), "results cannot be compared with published ones")
    else:
        yield Finding("data", "ok", text)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the warnings of loaders."""
    remarks: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: remarks.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("fedmeta_flwr.data")
    logger.addHandler(handler)
    try:
        yield remarks
    finally:
        logger.removeHandler(handler)
