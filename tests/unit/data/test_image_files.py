"""What every loader skips, and which files it takes for images."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedmeta_flwr.data import (
    decode_photo,
    is_photo,
    is_skipped,
    load_image_folder,
    load_mini_imagenet,
    load_omniglot,
    read_entries,
)

from .mini_imagenet.made_up_photos import jpg

Files = dict[str, bytes]

CLUTTER = (
    *(".DS_Store", "._00.jpg", ".ipynb_checkpoints", ".hidden.png", "__MACOSX", "Icon\r", "Thumbs.db", "THUMBS.DB"),
    *("ehthumbs.db", "desktop.ini", "Desktop.ini", "Picasa.ini", "$RECYCLE.BIN", "System Volume Information"),
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "lost+found", "__pycache__"),
)


@pytest.mark.parametrize("name", [*CLUTTER, "a/.b/c.png", "__MACOSX/a/c.png", "a/@eaDir/c.png/SYNOPHOTO_THUMB_M.jpg"])
def test_hidden_and_system_files_are_skipped(name: str) -> None:
    assert is_skipped(name)


@pytest.mark.parametrize("name", ["a.jpg", "macosx", "thumbs.db.png", "a.b/c", "_a", "~a", "@a", "Ä 🐈/№ 1.png", ".."])
def test_other_names_are_not_skipped(name: str) -> None:
    assert not is_skipped(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"a{suffix}", True) for suffix in (".jpg", ".JPEG", ".Jpe", ".jfif", ".png", ".PNG", ".apng", ".gif")),
        *((f"a{suffix}", True) for suffix in (".bmp", ".tif", ".TIFF", ".webp", ".avif", ".jp2", ".ppm", ".pgm")),
        ("a.heic", True),  # refused where it is decoded, rather than left out without a word
        *((name, False) for name in ("._a.jpg", ".jpg", "a.txt", "jpg", "a.jpg.zip", "Thumbs.db", "a.svg", "a")),
    ],
)
def test_images_are_recognised_by_their_suffix(name: str, expected: bool) -> None:
    assert is_photo(name) is expected


def _class_folders() -> Files:
    return {f"{name}/{number}.jpg": jpg(20 * number) for name in ("cat", "dog") for number in range(10)}


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def layouts(official_files: dict[str, Files], mini_files: Files) -> dict[str, tuple[Callable[..., object], Files]]:
    """Return for each layout its loader and its files."""
    drawings = {name: content for part in official_files.values() for name, content in part.items()}
    return {
        "image-folder": (load_image_folder, _class_folders()),
        "omniglot": (load_omniglot, drawings),
        "mini-imagenet": (load_mini_imagenet, mini_files),
    }


@pytest.fixture
def mini_files() -> Files:
    """Return a class of two photos for each split, in mini-ImageNet's layout."""
    files: Files = {}
    for red, split in enumerate(("train", "val", "test")):
        names = [f"{split}{number}.jpg" for number in range(2)]
        files |= {f"images/{name}": jpg(80 * red) for name in names}
        files[f"{split}.csv"] = "\n".join(["filename,label", *(f"{name},{split}" for name in names)]).encode()
    return files


@pytest.mark.parametrize(
    ("layout", "zipped"),
    [("image-folder", False), *((name, zipped) for name in ("omniglot", "mini-imagenet") for zipped in (False, True))],
)
def test_every_loader_skips_the_same_in_folders_and_archives(
    tmp_path: Path, layouts: dict[str, tuple[Callable[..., object], Files]], layout: str, zipped: bool
) -> None:
    load, files = layouts[layout]
    places = sorted({str(parent) for name in files for parent in Path(name).parents})
    clutter = {f"{place}/{name}": b"x" for place in places for name in CLUTTER}
    within = {f"{place}/{name}/{Path(first).name}": b"x" for place in places for name in CLUTTER for first in files}
    fingerprints = set()
    for number, added in enumerate(({}, clutter, within)):
        folder = tmp_path / str(number)
        if not zipped:
            _write(folder, files | added)
        else:
            folder.mkdir()
            parts = {"mini-imagenet"} if layout == "mini-imagenet" else {name.split("/")[0] for name in files}
            for part in sorted(parts):
                part_files = {name: files[name] for name in files if layout == "mini-imagenet" or name.startswith(part)}
                _zip(folder / f"{part}.zip", {name.removeprefix("./"): x for name, x in (part_files | added).items()})
        dataset = load(folder, tmp_path / "cache", 8)
        fingerprints.add(dataset.fingerprint)  # type: ignore[attr-defined]
        shutil.rmtree(tmp_path / "cache")
    assert len(fingerprints) == 1


def test_a_custom_loader_reads_files_as_the_built_in_ones_do(tmp_path: Path) -> None:
    files = _class_folders() | {"cat/.ipynb_checkpoints/0.jpg": b"x", "dog/Thumbs.db": b"x", "dog/notes.txt": b"x"}
    _write(tmp_path / "data", files)
    _zip(tmp_path / "data.zip", {f"data/{name}": content for name, content in files.items()})
    expected = load_image_folder(tmp_path / "data", tmp_path / "cache", 8).images
    for source in (tmp_path / "data", tmp_path / "data.zip"):
        images = [decode_photo(content, 8, name) for name, content in read_entries(source) if is_photo(name)]
        np.testing.assert_array_equal(np.reshape(images, expected.shape), expected)
