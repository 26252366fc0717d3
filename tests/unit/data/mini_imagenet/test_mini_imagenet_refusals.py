import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from fedmeta_flwr.data import DatasetError, load_mini_imagenet, mini_imagenet

from .made_up_photos import FIRST, Files, Pickles, WritePickles, WriteZip, jpg, write_folder

Spoil = Callable[[Files], object]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda files: files.pop(FIRST), r"train\.csv names .*found no images/n050\.jpg \(1 are missing\)"),
        (lambda files: files.pop("val.csv"), r"found no val\.csv"),
        (lambda files: files.update({"val.csv": b""}), r"the header filename,label, found '': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"n030.jpg,n03\n"}), r"found 'n030\.jpg,n03': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\n\xff,a"}), r"a CSV file, found 'val\.csv'"),
        (
            lambda files: files.update({"val.csv": "filename,label\n".encode("utf-16")}),
            r"val\.csv.*: expected text in UTF-8, found UTF-16",
        ),
        (lambda files: files.update({"val.csv": b"filename,label\nn030.jpg\n"}), r"found 'n030\.jpg': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\nn030.jpg,\n"}), r"found 'n030\.jpg,': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\n"}), "classes in each split, found none in val"),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031.jpg,n03\n", b"")}),
            r"expected 3 photos of each class, as most have, found 2 of n03 \(val\)",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b",n03", b",n01")}),
            "expected each class in only one split, found n01 in two",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031", b"n030")}),
            r"each photo only once, found n030\.jpg 2 times",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031", b"n011")}),
            r"each photo only once, found n011\.jpg 2 times",
        ),
        (lambda files: files.update({f"more/{FIRST}": b"x"}), rf"each name only once, found it again: 'more/{FIRST}'"),
        (lambda files: files.update({FIRST: b"x"}), rf"that decodes, found '{FIRST}'"),
        (lambda files: files.update({FIRST: jpg(0)[:-20]}), rf"that decodes, found '{FIRST}'"),
        (lambda files: files.clear(), r"found no train\.csv, val\.csv, test\.csv"),
    ],
)
def test_a_spoilt_archive_is_refused_by_name_and_leaves_no_cache(
    tmp_path: Path, files: Files, write_zip: WriteZip, spoil: Spoil, complaint: str
) -> None:
    spoil(files)
    with pytest.raises(DatasetError, match=complaint) as caught:
        load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert "mini-imagenet.zip" in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path: Path, files: Files, write_zip: WriteZip) -> None:
    archive = write_zip(files) / "mini-imagenet.zip"
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DatasetError, match=str(archive)):
        load_mini_imagenet(archive.parent, tmp_path / "cache", 8)


class _Intruder:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.path.exists, ("smuggled",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image_data": _Intruder()}, r"it asks for \w+\.exists"),
        ({"image_data": np.zeros((3, 4, 4, 3), np.float32)}, r"found float32 of shape \(3, 4, 4, 3\)"),
        ({"image_data": np.zeros((3, 4, 4), np.uint8)}, r"found uint8 of shape \(3, 4, 4\)"),
        ({"image_data": np.zeros((3, 3, 4, 4), np.uint8)}, r"found uint8 of shape \(3, 3, 4, 4\)"),
        ({"image_data": [[1, 2]]}, "an array image_data and a dict class_dict"),
        ({"class_dict": [0, 1, 2]}, "an array image_data and a dict class_dict"),
        ({"class_dict": {"n03": [0, 1, 3]}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": [-1, 0, 1]}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": [0.0, 1.0, 2.0]}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": np.arange(4)}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": []}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": 7}}, "rows from 0 to 2 in class_dict, found none or others for n03"),
        ({"class_dict": {"n03": [0, 1, 1]}}, "each photo only once, found 1 2 times"),
        (
            {"class_dict": {"n03": [0], "n06": [1]}},
            r"expected 3 photos of each class, as most have, found 1 of n03 \(val\)",
        ),
        ({"class_dict": {"n01": [0, 1, 2]}}, "each class in only one split, found n01 in two"),
        ({"class_dict": {}}, "found none in val"),
        ({"class_dict": {"caf\udce9": [0, 1, 2]}}, r"class names that are text in UTF-8, found caf\\xe9: "),
    ],
)
def test_a_spoilt_pickle_is_refused_by_name_and_leaves_no_cache(
    tmp_path: Path,
    pickles: Pickles,
    write_pickles: WritePickles,
    changes: dict[str, Any],
    complaint: str,
) -> None:
    pickles["val"] |= changes
    data_dir = write_pickles(pickles)
    with pytest.raises(DatasetError, match=complaint) as caught:
        load_mini_imagenet(data_dir, tmp_path / "cache", 8)
    assert str(data_dir) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("content", [[], None, {"image_data": 1}])
def test_a_pickle_of_something_else_is_refused_by_name(
    tmp_path: Path, pickles: Pickles, write_pickles: WritePickles, content: Any
) -> None:
    data_dir = write_pickles(pickles | {"val": content})
    with pytest.raises(DatasetError, match=r"found another: .*mini-imagenet-cache-val\.pkl"):
        load_mini_imagenet(data_dir, tmp_path / "cache", 8)


def test_a_missing_folder_or_file_is_named_with_what_lies_there(
    tmp_path: Path, pickles: Pickles, write_pickles: WritePickles, files: Files
) -> None:
    with pytest.raises(DatasetError, match=f"data-dir {tmp_path / 'nowhere'}, found: no such folder"):
        load_mini_imagenet(tmp_path / "nowhere", tmp_path, 8)
    with pytest.raises(DatasetError, match="data-dir to be set"):
        load_mini_imagenet(None, tmp_path, 8)
    with pytest.raises(DatasetError, match="image size of 1"):
        load_mini_imagenet(tmp_path, tmp_path, 0)
    (write_pickles(pickles) / "mini-imagenet-cache-val.pkl").unlink()
    with pytest.raises(
        DatasetError,
        match=r"test\.pkl in data-dir .*found: mini-imagenet-cache-test\.pkl, mini-imagenet-cache-train\.pkl$",
    ):
        load_mini_imagenet(tmp_path / "data", tmp_path, 8)
    del files["val.csv"]
    with pytest.raises(DatasetError, match=r"images, train\.csv, val\.csv, .*found: images, test\.csv, train\.csv"):
        load_mini_imagenet(write_folder(tmp_path / "folder", files), tmp_path, 8)


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, files: Files) -> None:
    folder = write_folder(tmp_path / "folder", files)
    (folder / "val.csv").unlink()
    (folder / "val.csv").mkdir()
    with pytest.raises(DatasetError, match=r"val\.csv"):
        load_mini_imagenet(folder, tmp_path / "cache", 8)


def test_a_full_disk_is_an_error_before_anything_is_decoded(
    tmp_path: Path, files: Files, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int, offset: int, size: int) -> NoReturn:
        assert (offset, size) == (0, 5 * 3 * 3 * 8 * 8)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(mini_imagenet, "decode_photo", None)
    with pytest.raises(DatasetError, match=f"{tmp_path / 'cache'}.*No space left"):
        load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert list((tmp_path / "cache").iterdir()) == []
