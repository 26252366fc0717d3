"""Mangled archives of images: each is read or refused by name, and nothing is written beside the cache."""

import io
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.data import mini_imagenet, omniglot
from fedmeta_flwr.data.store import DatasetError

Files = dict[str, bytes]
Mangle = Callable[[Files, np.random.Generator], bytes]

TIMES = 300
"""How often each way to mangle is tried, for each of the two layouts."""

NUMBERS = (0, 1, 2, 21, 22, 46, 100, 0xFFFF, 0x10000, 2**28, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
NAMES = (
    *(
        "../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        "..\\escaped",
        "C:escaped",
        "a\0b",
        "",
        "/",
        "./",
        ".",
        "a" * 5000,
    ),
    *("part/Alpha/character01/0001_01.png/x", "images/train0.png", "images/../val.csv", "train.csv/", "x" + "/x" * 900),
)


def encoded(size: int, seed: int, mode: str, file_format: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, file_format)
    return file.getvalue()


def drawings() -> Files:
    """Return two characters of two drawings each, in Omniglot's layout."""
    names = [f"part/Alpha/character0{character}/000{character}_0{drawer}.png" for character in "12" for drawer in "12"]
    return {name: encoded(105, index, "1", "PNG") for index, name in enumerate(names)}


def photos() -> Files:
    """Return three classes of two photos each, one in each format, in mini-ImageNet's layout."""
    formats = iter(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))
    files: Files = {}
    for split in ("train", "val", "test"):
        names = [f"{split}{instance}.png" for instance in range(2)]
        files |= {f"images/{name}": encoded(8, 0, "RGB", next(formats)) for name in names}
        files[f"{split}.csv"] = "\n".join(["filename,label", *(f"{name},{split}" for name in names)]).encode()
    return files


def zipped(files: Files, names: dict[str, str] | None = None, modes: dict[str, int] | None = None) -> bytes:
    """Return an archive, in which some entries may have other names and modes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo((names or {}).get(name, name))
            info.external_attr = (modes or {}).get(name, 0) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def with_bytes_changed(content: bytes, rng: np.random.Generator, start: int = 0, most: int = 4) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(min(start, len(content) - 1), len(content), rng.integers(1, most + 1)):
        changed[place] = rng.integers(0, 256)
    return bytes(changed)


def change_bytes(files: Files, rng: np.random.Generator) -> bytes:
    return with_bytes_changed(zipped(files), rng, most=2)


def change_the_list(files: Files, rng: np.random.Generator) -> bytes:
    content = zipped(files)
    return with_bytes_changed(content, rng, content.index(b"PK\x01\x02"))


def truncate(files: Files, rng: np.random.Generator) -> bytes:
    content = zipped(files)
    start = int(rng.integers(0, 20)) if rng.random() < 0.5 else 0  # bytes before an archive are not an error
    return (
        content[start : int(rng.integers(len(content) // 2, len(content)))] if rng.random() < 0.8 else content[start:]
    )


def splice(files: Files, rng: np.random.Generator) -> bytes:
    content, other = zipped(files), zipped(dict(reversed(files.items())))
    first, second = sorted(int(place) for place in rng.integers(0, len(content), 2))
    if rng.random() < 0.3:  # whole archives in a row: the last one counts
        return content + other
    return content[:first] + other[first:second] + content[second if rng.random() < 0.5 else first :]


def lie_about_numbers(files: Files, rng: np.random.Generator) -> bytes:
    """Overwrite a number of the list of entries or of its end: sizes, checksums, offsets, methods, flags."""
    content = bytearray(zipped(files))
    end = content.rindex(b"PK\x05\x06")
    heads = [place for place in range(end) if content[place : place + 4] == b"PK\x01\x02"]
    for _ in range(int(rng.integers(1, 3))):
        places = [head + offset for head in heads for offset in (4, 6, 8, 10, 16, 20, 24, 28, 30, 32, 34, 36, 38, 42)]
        places += [end + offset for offset in (4, 6, 8, 10, 12, 16)] * 3
        struct.pack_into("<I", content, int(rng.choice(places)), int(rng.choice(NUMBERS)))
    return bytes(content)


def add_a_zip64_end(files: Files, rng: np.random.Generator) -> bytes:
    """Put the end of an archive of 4 GiB and more before the usual one, with numbers that may be anything."""
    content = zipped(files)
    end = content.rindex(b"PK\x05\x06")
    length, start = struct.unpack_from("<II", content, end + 12)
    numbers = [44, 45, 45, 0, 0, len(files), len(files), length, start]
    if rng.random() < 0.8:
        numbers[int(rng.choice([0, 3, 5, 6, 7, 8]))] = int(rng.choice([0, 1, 2**31, 2**32 - 1]))
    if rng.random() < 0.5:
        numbers[int(rng.choice([7, 8]))] = (2**40, 2**62, 2**63, 2**64 - 1)[int(rng.integers(4))]
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", *numbers)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end if rng.random() < 0.9 else 2**63, 1)
    return content[:end] + record + locator + content[end:]


def rename(files: Files, rng: np.random.Generator) -> bytes:
    names = dict(zip(files, files, strict=True))
    modes = {}
    for _ in range(int(rng.integers(1, 3))):
        victim = str(rng.choice(list(files)))
        kind = rng.random()
        if kind < 0.4:
            names[victim] = str(rng.choice([*NAMES, *files]))
        elif kind < 0.7:
            modes[victim] = int(rng.choice([0o120777, 0o010644, 0o020644, 0o100644, 0o040755, 0o160000]))
        else:
            names[victim] = f"{'more/' * int(rng.integers(1, 4))}{victim}"
    extra = {str(rng.choice(NAMES)): b"x"} if rng.random() < 0.3 else {}
    return zipped(files | extra, names, modes)


def change_contents(files: Files, rng: np.random.Generator) -> bytes:
    """Damage images and lists in an archive that is sound."""
    changed = dict(files)
    for victim in rng.choice(list(files), int(rng.integers(1, 3))):
        content = with_bytes_changed(files[victim], rng, most=3)
        changed[str(victim)] = content[: int(rng.integers(0, len(content)))] if rng.random() < 0.2 else content
    return zipped(changed)


MANGLES: tuple[Mangle, ...] = (
    change_bytes,
    change_the_list,
    truncate,
    splice,
    lie_about_numbers,
    add_a_zip64_end,
    rename,
    change_contents,
)
LAYOUTS = {"omniglot": drawings(), "mini-imagenet": photos()}


def is_read(layout: str, path: Path, cache_dir: Path) -> bool:
    """Return whether an archive is read; if it is refused, the message must name it."""
    try:
        if layout == "omniglot":
            assert omniglot._read_characters([path], 8).images.shape[2:] == (1, 8, 8)
        else:
            assert mini_imagenet._read_photos([path], cache_dir, 8).images.shape[2:] == (3, 8, 8)
    except DatasetError as error:
        assert str(path) in str(error)  # noqa: PT017
        return False
    return True


@pytest.mark.filterwarnings("ignore")  # Pillow's about damaged images, zipfile's about names that it writes twice
@pytest.mark.parametrize("mangle", MANGLES, ids=lambda mangle: mangle.__name__)
def test_a_mangled_archive_is_read_or_refused_by_name_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mangle: Mangle
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")  # so that '../escaped' would be seen
    path = tmp_path / "part.zip"
    results: Counter[bool] = Counter()
    for layout, files in LAYOUTS.items():
        for seed in range(TIMES):
            path.write_bytes(mangle(files, np.random.default_rng([MANGLES.index(mangle), seed])))
            try:
                results[is_read(layout, path, tmp_path)] += 1
            except Exception as error:
                raise AssertionError(f"{mangle.__name__} {layout} {seed}: {error!r}") from error
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b", path]
    assert not Path("/tmp/escaped").exists()
    print(f"{mangle.__name__}: {results[False]} refused, {results[True]} read")
    assert results[False] > TIMES // 2
    assert results[True] > TIMES // 50


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_archives_to_be_mangled_are_read(tmp_path: Path, layout: str) -> None:
    (tmp_path / "part.zip").write_bytes(zipped(LAYOUTS[layout]))
    assert is_read(layout, tmp_path / "part.zip", tmp_path)
