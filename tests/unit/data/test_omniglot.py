import hashlib
import http.server
import io
import logging
import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.data import DatasetError, load_omniglot, omniglot

Parts = dict[str, dict[str, bytes]]
WriteZips = Callable[[Parts], Path]
Png = Callable[..., bytes]

BACKGROUND, EVALUATION = "images_background", "images_evaluation"
FIRST = f"{BACKGROUND}/Beta/character01/0000_10.png"


def _unpack(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_classes_of_both_parts_are_sorted_and_grouped_by_alphabet(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    dataset = load_omniglot(write_zips(official_files), tmp_path / "cache")
    assert dataset.name == "omniglot"
    assert dataset.class_names == ("Alpha/character02", "Beta/character01", "Delta/character01", "Gamma/character01")
    assert dataset.groups == ("Alpha", "Beta", "Delta", "Gamma")
    assert dataset.images.shape == (4, 3, 1, 28, 28)


def test_instances_are_sorted_by_drawer_and_ink_is_bright(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    dataset = load_omniglot(write_zips(official_files), tmp_path / "cache", image_size=105)
    # Beta was made first: drawers 10, 2, 1 in this order, with the square at 0, 5 and 10 pixels from the corner.
    for instance, place in enumerate((10, 5, 0)):
        expected = np.zeros((105, 105), np.uint8)
        expected[place : place + 30, place : place + 30] = 255
        np.testing.assert_array_equal(dataset.images[1, instance, 0], expected)


def test_shrinking_blends_pixels_and_keeps_the_amount_of_ink(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    data_dir = write_zips(official_files)
    large = load_omniglot(data_dir, tmp_path / "cache", image_size=105).images
    small = load_omniglot(data_dir, tmp_path / "cache", image_size=28).images
    assert ((small > 0) & (small < 255)).any()
    # Lanczos overshoots at an edge and is cut at 255, which costs ink: 1 % of 255 is far above that.
    assert abs(small.mean() - large.mean()) < 2.55


def test_archives_and_folders_in_any_mix_give_the_same_data(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    data_dir = write_zips(official_files)
    zipped = load_omniglot(data_dir, tmp_path / "cache")
    (data_dir / f"{EVALUATION}.zip").unlink()
    _unpack(data_dir, official_files[EVALUATION])
    mixed = load_omniglot(data_dir, tmp_path / "cache")
    (data_dir / f"{BACKGROUND}.zip").unlink()
    _unpack(data_dir, official_files[BACKGROUND])
    unpacked = load_omniglot(data_dir, tmp_path / "cache")
    assert zipped.fingerprint == mixed.fingerprint == unpacked.fingerprint


def test_a_changed_drawing_or_image_size_is_not_served_from_the_cache(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, png: Png
) -> None:
    before = load_omniglot(write_zips(official_files), tmp_path / "cache")
    official_files[BACKGROUND][FIRST] = png(60)
    after = load_omniglot(write_zips(official_files), tmp_path / "cache")
    smaller = load_omniglot(write_zips(official_files), tmp_path / "cache", image_size=14)
    assert before.fingerprint != after.fingerprint
    assert smaller.images.shape[2:] == (1, 14, 14)


def test_a_cached_set_is_not_decoded_again(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = write_zips(official_files)
    load_omniglot(data_dir, tmp_path / "cache")
    monkeypatch.setattr(omniglot, "read_entries", None)
    load_omniglot(data_dir, tmp_path / "cache")


def test_files_that_are_not_drawings_and_clutter_are_ignored(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    plain = load_omniglot(write_zips(official_files), tmp_path / "cache")
    official_files[BACKGROUND] |= {
        "__MACOSX/images_background/Beta/character01/._0000_10.png": b"x",
        "images_background/.DS_Store": b"x",
        "images_background/README.txt": b"x",
    }
    cluttered = load_omniglot(write_zips(official_files), tmp_path / "cache")
    assert plain.fingerprint == cluttered.fingerprint


def test_fewer_characters_than_omniglot_has_are_warned_about(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_omniglot(write_zips(official_files), tmp_path / "cache")
    assert "holds 4 characters, Omniglot has 1623" in caplog.text


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"data-dir {tmp_path / 'nowhere'}, found: no such folder"):
        load_omniglot(tmp_path / "nowhere", tmp_path / "cache")
    (tmp_path / "omniglot.zip").write_bytes(b"")
    with pytest.raises(DatasetError, match=f"data-dir {tmp_path / 'omniglot.zip'}, found: a file"):
        load_omniglot(tmp_path / "omniglot.zip", tmp_path / "cache")


def test_a_missing_part_is_named_with_what_lies_there(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    del official_files[EVALUATION]
    with pytest.raises(DatasetError, match=r"images_evaluation\.zip or images_evaluation/ .*images_background\.zip"):
        load_omniglot(write_zips(official_files), tmp_path / "cache")


def _cut_png(png: Png) -> bytes:
    return png()[:-40]


@pytest.mark.parametrize(
    "case",
    [
        (lambda _: b"not a png", "decodes"),
        (_cut_png, "decodes"),
        (lambda png: png(size=(28, 28)), r"found size \(28, 28\)"),
        (lambda png: png(mode="L"), "mode 'L'"),
        (lambda png: png(mode="RGB"), "mode 'RGB'"),
    ],
)
def test_a_bad_drawing_is_refused_with_its_file_and_entry(
    tmp_path: Path,
    official_files: Parts,
    write_zips: WriteZips,
    png: Png,
    case: tuple[Callable[[Png], bytes], str],
) -> None:
    make, complaint = case
    official_files[BACKGROUND][FIRST] = make(png)
    with pytest.raises(DatasetError, match=complaint) as caught:
        load_omniglot(write_zips(official_files), tmp_path / "cache")
    assert FIRST in str(caught.value)
    assert f"{BACKGROUND}.zip" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def _renamed(files: dict[str, bytes], suffix: str) -> dict[str, bytes]:
    return {name.removesuffix(".png") + suffix: content for name, content in files.items()}


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("suffix", [".PNG", ".Png", ".bmp"])
def test_a_drawing_is_read_whatever_its_suffix(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, suffix: str, unpacked: bool
) -> None:
    expected = load_omniglot(write_zips(official_files), tmp_path / "cache").fingerprint
    official_files[EVALUATION] = _renamed(official_files[EVALUATION], suffix)
    data_dir = write_zips(official_files)
    if unpacked:
        (data_dir / f"{EVALUATION}.zip").unlink()
        _unpack(data_dir, official_files[EVALUATION])
    assert load_omniglot(data_dir, tmp_path / "cache").fingerprint == expected


def test_a_drawing_in_another_format_of_the_same_pixels_is_read_whatever_its_name(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    expected = load_omniglot(write_zips(official_files), tmp_path / "cache").fingerprint
    file = io.BytesIO()
    Image.open(io.BytesIO(official_files[BACKGROUND][FIRST])).save(file, "BMP")
    official_files[BACKGROUND][FIRST] = file.getvalue()
    assert load_omniglot(write_zips(official_files), tmp_path / "cache").fingerprint == expected


def test_an_image_that_claims_a_huge_size_is_refused(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, png: Png
) -> None:
    head = b"IHDR" + struct.pack(">II", 20_000, 20_000) + png()[24:29]  # beyond what Pillow opens
    official_files[BACKGROUND][FIRST] = png()[:12] + head + struct.pack(">I", zlib.crc32(head)) + png()[33:]
    with pytest.raises(DatasetError, match=FIRST):
        load_omniglot(write_zips(official_files), tmp_path / "cache")


@pytest.mark.parametrize("name", ["images_background/character01/0001_01.png", "images_background/B/c1/0001_01.png"])
def test_a_drawing_outside_the_official_layout_is_refused(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, png: Png, name: str
) -> None:
    official_files[BACKGROUND][name] = png()
    with pytest.raises(DatasetError, match=f"characterNN.*{name}"):
        load_omniglot(write_zips(official_files), tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_drawing_below_a_name_that_is_not_utf_8_is_refused_escaped(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips
) -> None:
    data_dir = write_zips(official_files)
    (data_dir / f"{EVALUATION}.zip").unlink()
    _unpack(data_dir, official_files[EVALUATION])
    (data_dir / EVALUATION / "Gamma").rename(data_dir / EVALUATION / os.fsdecode(b"caf\xe9"))
    with pytest.raises(DatasetError, match=r"in UTF-8, found 'images_evaluation/caf.*e9/character01") as caught:
        load_omniglot(data_dir, tmp_path / "cache")
    str(caught.value).encode()


def test_a_character_with_fewer_drawings_is_named(tmp_path: Path, official_files: Parts, write_zips: WriteZips) -> None:
    del official_files[BACKGROUND][FIRST]
    with pytest.raises(DatasetError, match=r"expected 3 drawings .* found 2 of Beta/character01"):
        load_omniglot(write_zips(official_files), tmp_path / "cache")


def test_two_drawings_by_one_drawer_are_refused(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, png: Png
) -> None:
    second = FIRST.replace("0000_10", "9999_10")
    official_files[BACKGROUND][second] = png()
    with pytest.raises(DatasetError, match=f"per drawer, found another: '{second}'"):
        load_omniglot(write_zips(official_files), tmp_path / "cache")


@pytest.mark.parametrize("part", [BACKGROUND, EVALUATION])
@pytest.mark.parametrize("left", [{}, {"README.txt": b"x", "Alphabet/": b""}])
def test_a_part_without_any_drawing_is_refused_by_name(
    tmp_path: Path, official_files: Parts, write_zips: WriteZips, part: str, left: dict[str, bytes]
) -> None:
    official_files[part] = {f"{part}/{name}": content for name, content in left.items()}
    data_dir = write_zips(official_files)
    with pytest.raises(DatasetError, match=rf"expected drawings named .*, found none in .*data/{part}\.zip"):
        load_omniglot(data_dir, tmp_path / "cache")
    (data_dir / f"{part}.zip").unlink()
    (data_dir / part / "Alphabet").mkdir(parents=True)
    with pytest.raises(DatasetError, match=rf"expected drawings named .*, found none in .*data/{part}$"):
        load_omniglot(data_dir, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path: Path, official_files: Parts, write_zips: WriteZips) -> None:
    archive = write_zips(official_files) / f"{EVALUATION}.zip"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DatasetError, match=str(archive)):
        load_omniglot(archive.parent, tmp_path / "cache")


def test_an_image_size_below_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="image size"):
        load_omniglot(tmp_path, tmp_path, image_size=0)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def served(
    official_files: Parts, write_zips: WriteZips, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, http.server.HTTPServer]]:
    """Serve small archives in place of the official ones, with their checksums."""
    folder = write_zips(official_files)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: _QuietHandler(*arguments, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(omniglot, "DOWNLOAD_URL", f"http://127.0.0.1:{server.server_port}")
    sums = {path.stem: hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    monkeypatch.setattr(omniglot, "PART_MD5", sums)
    yield folder, server
    server.shutdown()
    server.server_close()


def test_without_a_data_folder_the_archives_are_downloaded_once(
    tmp_path: Path, served: tuple[Path, http.server.HTTPServer]
) -> None:
    folder, server = served
    downloaded = load_omniglot(None, tmp_path / "cache")
    assert downloaded.fingerprint == load_omniglot(folder, tmp_path / "other").fingerprint
    server.shutdown()
    assert load_omniglot(None, tmp_path / "cache").fingerprint == downloaded.fingerprint


def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(
    tmp_path: Path, served: tuple[Path, http.server.HTTPServer]
) -> None:
    folder, _ = served
    (folder / f"{BACKGROUND}.zip").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=f"md5 .*{tmp_path / 'cache' / 'downloads'}"):
        load_omniglot(None, tmp_path / "cache")
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


def test_without_a_network_the_way_out_is_named_and_no_half_file_is_left(
    tmp_path: Path, served: tuple[Path, http.server.HTTPServer]
) -> None:
    _, server = served
    server.shutdown()
    server.server_close()
    with pytest.raises(
        DatasetError, match=r'downloads \(in cache-dir\), found: .*data-dir.*images_background\.zip.*dataset="strokes"'
    ):
        load_omniglot(None, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.real_data
def test_real_omniglot_is_read_whole_and_not_decoded_again(
    tmp_path: Path, omniglot_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_omniglot(omniglot_dir, tmp_path)
    assert dataset.images.shape == (1623, 20, 1, 28, 28)
    assert len(set(dataset.groups)) == 50
    assert dataset.class_names[0] == "Alphabet_of_the_Magi/character01"
    # Thin bright strokes on a dark ground, in every single drawing: `dataset.images.mean() / 255` is 0.0840.
    ink = dataset.images.mean(axis=(2, 3, 4)) / 255
    assert 0.08 < ink.mean() < 0.09
    assert 0 < ink.min() < ink.max() < 0.3
    monkeypatch.setattr(omniglot, "read_entries", None)
    assert load_omniglot(omniglot_dir, tmp_path).fingerprint == dataset.fingerprint
