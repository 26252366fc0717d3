"""Small made-up data in Omniglot's official layout, and the folders of real data."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Files = dict[str, bytes]

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encode a drawing with a black square, ``place`` pixels from the corner, on white."""

    def encode(place: int = 0, size: tuple[int, int] = (105, 105), mode: str = "1") -> bytes:
        paper = Image.new("L", size, 255)
        paper.paste(0, (place, place, place + 30, place + 30))
        file = io.BytesIO()
        paper.convert(mode).save(file, "PNG")
        return file.getvalue()

    return encode


@pytest.fixture
def official_files(png: Callable[..., bytes]) -> dict[str, Files]:
    """Two parts of two characters with three drawings each, all different, in no particular order."""
    characters = {
        "images_background": (("Beta", 1), ("Alpha", 2)),
        "images_evaluation": (("Gamma", 1), ("Delta", 1)),
    }
    parts: dict[str, Files] = {}
    number = 0
    for part, members in characters.items():
        parts[part] = {}
        for alphabet, character in members:
            for drawer in (10, 2, 1):
                parts[part][f"{part}/{alphabet}/character{character:02d}/{number:04d}_{drawer}.png"] = png(number)
                number += 5
    return parts


def _write_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def write_zips(tmp_path: Path) -> Callable[[dict[str, Files]], Path]:
    """Write parts as zip archives into a data folder."""

    def write(parts: dict[str, Files]) -> Path:
        folder = tmp_path / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for part, files in parts.items():
            _write_zip(folder / f"{part}.zip", files)
        return folder

    return write


@pytest.fixture
def small_images() -> np.ndarray:
    """Random images: 3 classes, 2 instances, 1 channel, 4 x 5 pixels."""
    return np.random.default_rng(0).integers(0, 256, (3, 2, 1, 4, 5), dtype=np.uint8)


def _real_data(dataset: str) -> Path:
    """Return the folder of a data set's real files, or skip."""
    variable = f"FEDMETA_{dataset.replace('-', '_').upper()}_DIR"
    named = os.environ.get(variable)
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / dataset
    if not folder.is_dir():
        pytest.skip(f"no files of {dataset}: {folder} is missing (set {variable})")
    return folder


@pytest.fixture
def omniglot_dir() -> Path:
    """Return the folder of the real archives, or skip."""
    return _real_data("omniglot")


@pytest.fixture
def mini_imagenet_dir() -> Path:
    """Return the folder of the real photos, or skip."""
    return _real_data("mini-imagenet")
