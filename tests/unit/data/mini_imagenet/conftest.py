"""Made-up photos as the loader of mini-ImageNet finds them."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from .made_up_photos import CLASSES, Files, Pickles, WritePickles, WriteZip, jpg, red_of


@pytest.fixture
def files() -> Files:
    """Return 5 classes of 3 photos in the Ravi & Larochelle layout, lists last and photos in no particular order."""
    found: Files = {}
    for split, names in CLASSES.items():
        photos = [(f"{name}{instance}.jpg", name, instance) for name in names for instance in (2, 0, 1)]
        found |= {f"images/{photo}": jpg(red_of(name, instance)) for photo, name, instance in photos}
        lines = ["filename,label", *(f"{photo},{name}" for photo, name, _ in photos)]
        found[f"{split}.csv"] = "\n".join([*lines, ""]).encode()
    return dict(sorted(found.items(), key=lambda item: item[0].endswith(".csv")))


@pytest.fixture
def write_zip(tmp_path: Path) -> WriteZip:
    def write(content: Files) -> Path:
        (tmp_path / "data").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "data" / "mini-imagenet.zip", "w") as archive:
            for name, entry in content.items():
                archive.writestr(name, entry)
        return tmp_path / "data"

    return write


@pytest.fixture
def pickles() -> Pickles:
    """Return the same 5 classes as arrays of 16 x 20 pixels, rows of a class not next to each other."""
    found: Pickles = {}
    for split, names in CLASSES.items():
        photos = np.empty((3 * len(names), 16, 20, 3), np.uint8)
        photos[:] = (0, 60, 120)
        rows = {name: [index + len(names) * instance for instance in range(3)] for index, name in enumerate(names)}
        for name in names:
            for instance, row in enumerate(rows[name]):
                photos[row, :, :, 0] = red_of(name, instance)
        found[split] = {"image_data": photos, "class_dict": rows}
    return found


@pytest.fixture
def write_pickles(tmp_path: Path) -> WritePickles:
    def write(content: Pickles, protocol: int = 2, folder: Path = tmp_path / "data") -> Path:
        folder.mkdir(exist_ok=True)
        for split, fields in content.items():
            (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(fields, protocol))
        return folder

    return write
