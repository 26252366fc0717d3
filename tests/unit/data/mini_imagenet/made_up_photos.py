"""Photos of one colour, whose red encodes class and instance, in mini-ImageNet's layout."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

Files = dict[str, bytes]
Pickles = dict[str, dict[Any, Any]]
WriteZip = Callable[[Files], Path]
WritePickles = Callable[..., Path]

CLASSES = {"train": ("n05", "n02"), "val": ("n03",), "test": ("n04", "n01")}
ORDER = ("n02", "n05", "n03", "n01", "n04")
GROUPS = ("train", "train", "val", "test", "test")
FIRST = "images/n050.jpg"


def jpg(red: int, size: tuple[int, int] = (20, 16)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (red, 60, 120)).save(file, "JPEG", quality=100)
    return file.getvalue()


def red_of(name: str, instance: int) -> int:
    return 40 * int(name[1:]) + 10 * instance


def write_folder(folder: Path, content: Files) -> Path:
    for name, entry in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(entry)
    return folder
