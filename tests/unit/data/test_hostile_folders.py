"""Data folders and images from strangers: links, pipes and images that claim to be huge are refused by name."""

import io
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from unit.bounded_memory import on_linux, outcomes

from fedmeta_flwr.attacks.key import BackdoorKeyError, build_key
from fedmeta_flwr.data import DatasetError, load_image_folder, load_mini_imagenet, load_omniglot
from fedmeta_flwr.data.archives import content_digest, read_entries
from fedmeta_flwr.data.restricted_pickle import read_pickle
from fedmeta_flwr.data.safe_files import read_file

posix = pytest.mark.skipif(os.name != "posix", reason="no pipes and no links for everyone elsewhere")
pytestmark = posix


def png(mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


def claiming(content: bytes, side: int) -> bytes:
    """Return a PNG that claims to have `side` x `side` pixels, all of them there but packed well."""
    head = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a data folder of two classes of ten images."""
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "data" / name / f"{number}.png").write_bytes(png())
    return tmp_path / "data"


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link to a file": (lambda path: path.symlink_to(__file__), "a link"),
    "a link to a folder": (lambda path: path.symlink_to(path.parents[1]), "a link"),
    "a link to itself": (lambda path: path.symlink_to(path), "a link"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "a link"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "a link"),
    "a pipe": (os.mkfifo, "a pipe"),
    "a socket": (bind_socket, "a socket"),
}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", ["cat/0.png", "cat/notes.txt", "cat/10.png", "fox", "other.zip"])
def test_what_is_no_plain_file_in_a_data_folder_is_refused_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, special: str, name: str
) -> None:
    make, kind = SPECIAL[special]
    monkeypatch.chdir(folder)  # the name of a socket has little room
    (folder / name).unlink(missing_ok=True)
    make(Path(name) if kind == "a socket" else folder / name)
    for call in (content_digest, lambda path: list(read_entries(path))):
        with pytest.raises(DatasetError, match=kind) as caught:
            call(folder)
        assert str(folder / name) in str(caught.value)
    with pytest.raises(DatasetError, match=rf"{kind}|found 9 in .*cat"):  # a class of 9 files is found first
        load_image_folder(folder, tmp_path / "cache", 8)
    for read in (read_file, read_pickle):
        with pytest.raises(DatasetError, match=f"plain file at {folder / name}, found {kind}"):
            read(folder / name)


def test_the_data_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    linked = load_image_folder(tmp_path / "link", tmp_path / "cache", 8)
    assert linked.fingerprint == load_image_folder(folder, tmp_path / "cache", 8).fingerprint


def test_folders_that_lead_back_through_links_do_not_hang(folder: Path) -> None:
    for number in range(20):  # followed, 20 to the power of 40 folders
        (folder / "cat" / f"again{number}").symlink_to(folder)
    with pytest.raises(DatasetError, match=r"found a link: .*cat/again0"):
        content_digest(folder)


def test_folders_in_folders_without_end_are_refused(folder: Path) -> None:
    folder.joinpath("cat", *"d" * 40).mkdir(parents=True)  # with a thousand, Python's walk would fail
    with pytest.raises(DatasetError, match=f"folders at most 32 deep in {folder}, found .*cat/d/d"):
        content_digest(folder)


@pytest.mark.parametrize("name", [".data", "__MACOSX", "my data"])
def test_the_name_of_the_data_folder_hides_nothing(folder: Path, name: str) -> None:
    renamed = folder.rename(folder.with_name(name))
    before = content_digest(renamed)
    (renamed / "cat" / "0.png").write_bytes(png("L"))
    assert content_digest(renamed) != before


@pytest.mark.parametrize("make", [lambda path: path.symlink_to(__file__), os.mkfifo, Path.mkdir])
@pytest.mark.parametrize(
    ("load", "names"),
    [
        (load_omniglot, ("images_background.zip", "images_evaluation.zip")),
        (load_omniglot, ("images_background", "images_evaluation")),
        (load_mini_imagenet, ("mini-imagenet.zip",)),
        (load_mini_imagenet, ("images", "train.csv", "val.csv", "test.csv")),
        (load_mini_imagenet, tuple(f"mini-imagenet-cache-{split}.pkl" for split in ("train", "val", "test"))),
    ],
)
def test_parts_of_a_data_set_that_are_no_plain_files_are_refused_by_name(
    tmp_path: Path, load: Callable[..., object], names: tuple[str, ...], make: Callable[[Path], None]
) -> None:
    (tmp_path / "data").mkdir()
    for name in names:
        make(tmp_path / "data" / name)
    with pytest.raises(DatasetError, match=str(tmp_path / "data")):
        load(tmp_path / "data", tmp_path / "cache", 8)


@pytest.mark.parametrize("side", [9_000, 50_000])
def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    (folder / "cat" / "0.png").write_bytes(claiming(png(), side))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(DatasetError, match=r"cat/0\.png: .*(64000000|decompression bomb)"):
        load_image_folder(folder, tmp_path / "cache", 8)


def key(path: Path) -> object:
    return build_key(str(path), channels=3, image_size=16, size=4, position="top-left", intensity=1.0)


def test_a_key_image_may_be_a_link_but_no_bomb_and_no_other_format(tmp_path: Path) -> None:
    path = tmp_path / "key.png"
    (tmp_path / "link.png").symlink_to(path)
    path.write_bytes(png())
    key(tmp_path / "link.png")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
    for content in (
        claiming(png(), 9_000),
        claiming(png(), 50_000),
        png()[:-30],
        eps,
        b"",
        b"8BPS\0\1" + bytes(192),
    ):
        path.write_bytes(content)
        with pytest.raises(BackdoorKeyError, match=rf"cannot decode {path}"):
            key(path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_key_that_is_no_file_is_refused_by_name(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "key.png")
    with pytest.raises(BackdoorKeyError, match=rf"cannot decode {tmp_path / 'key.png'}.*plain file"):
        key(tmp_path / "key.png")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "loop.png"])
def test_a_key_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(BackdoorKeyError, match="backdoor-key: expected"):
        key(tmp_path / name)


@on_linux
def test_images_that_claim_to_be_huge_take_little_memory(tmp_path: Path) -> None:
    files = {f"{side}.png": claiming(png(), side) for side in (9_000, 50_000, 2**31 - 1)}
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG2000", no_jp2=True)
    files["jpeg.j2k"] = file.getvalue()[:8] + struct.pack(">II", 60_000, 60_000) + file.getvalue()[16:]
    files["ppm.ppm"] = b"P6 60000 60000 255\n"
    files["gif.gif"] = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
    files["bmp.bmp"] = (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 62, 0, 54, 40, 60000, 60000, 1, 24, 0, 8, 0, 0, 0, 0) + bytes(8)
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = outcomes(
        "from fedmeta_flwr.data.photos import DatasetError, decode_photo",
        "decode_photo(file.read_bytes(), 8, str(file))",
        "DatasetError",
        [str(tmp_path / name) for name in files],
        mebibytes=64,
    )
    for name, words in zip(files, found, strict=True):
        assert "64000000" in words or "decompression bomb" in words, (name, words)
    assert sys.platform == "linux"
