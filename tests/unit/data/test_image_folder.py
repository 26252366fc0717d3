import io
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.data import DatasetError, image_folder, load_dataset, load_image_folder

COUNTS = {"cat": 10, "Dog": 12, "ant": 11}


def _png(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (red, 20, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return three classes of unequal size; the red of an image is its number, written last to first."""
    for name, count in COUNTS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in reversed(range(count)):
            (tmp_path / "data" / name / f"{number:02}.png").write_bytes(_png(number))
    return tmp_path / "data"


def test_classes_and_images_are_sorted_and_the_smallest_class_decides(tmp_path: Path, folder: Path) -> None:
    dataset = load_image_folder(folder, tmp_path / "cache", 8)
    assert dataset.name == "image-folder"
    assert dataset.class_names == dataset.groups == ("Dog", "ant", "cat")
    assert dataset.images.shape == (3, 10, 3, 8, 8)
    assert (dataset.images[:, :, 0] == np.arange(10)[None, :, None, None]).all()
    assert (dataset.images[:, :, 1:].reshape(-1, 2, 64) == np.array([20, 30])[None, :, None]).all()
    assert dataset.meta_train_classes is dataset.meta_test_classes is None


def test_what_is_left_out_is_logged(tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_image_folder(folder, tmp_path / "cache", 8)
    assert f"{folder}: every class keeps its first 10 images; left out are 2 of Dog, 1 of ant" in caplog.text
    caplog.clear()
    (folder / "Dog" / "11.png").unlink()
    (folder / "Dog" / "10.png").unlink()
    (folder / "ant" / "10.png").unlink()
    load_image_folder(folder, tmp_path / "cache", 8)
    assert caplog.text == ""


def test_files_of_a_class_that_are_no_images_are_reported(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cat" / "clip.mp4").write_bytes(b"x")
    (folder / "Dog" / "raw.cr2").write_bytes(b"x")
    (folder / "Dog" / "Thumbs.db").write_bytes(b"x")
    (folder / "labels.csv").write_bytes(b"x")
    load_image_folder(folder, tmp_path / "cache", 8)
    assert (
        f"{folder}: 2 files are not read, because they do not have the suffix of an image, such as Dog/raw.cr2"
        in caplog.text
    )


def test_names_may_have_spaces_and_any_letters(tmp_path: Path, folder: Path) -> None:
    plain = load_image_folder(folder, tmp_path / "cache", 8)
    (folder / "cat").rename(folder / "кот 🐈")
    (folder / "ant" / "00.png").rename(folder / "ant" / "00 & ü🐜.PNG")
    renamed = load_image_folder(folder, tmp_path / "cache", 8)
    assert renamed.class_names == ("Dog", "ant", "кот 🐈")
    assert (renamed.images == plain.images).all()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_a_class_folder_that_is_not_utf_8_is_refused_before_anything_is_read(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cat").rename(folder / os.fsdecode(b"caf\xe9"))
    monkeypatch.setattr(image_folder, "content_digest", None)
    with pytest.raises(DatasetError, match=r"names are text in UTF-8, found .*data/caf\\xe9$") as caught:
        load_image_folder(folder, tmp_path / "cache", 8)
    str(caught.value).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_an_image_with_a_name_that_is_not_utf_8_is_read_or_named_with_escapes(tmp_path: Path, folder: Path) -> None:
    plain = load_image_folder(folder, tmp_path / "cache", 8)
    image = (folder / "cat" / "09.png").rename(folder / "cat" / os.fsdecode(b"\xe9.png"))
    assert load_image_folder(folder, tmp_path / "cache", 8).fingerprint == plain.fingerprint
    image.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"found .*cat/\\xe9\.png: an empty file") as caught:
        load_image_folder(folder, tmp_path / "cache", 8)
    str(caught.value).encode()


def test_it_is_loaded_by_name(tmp_path: Path, folder: Path) -> None:
    found = load_dataset(
        "image-folder",
        data_dir=folder,
        cache_dir=tmp_path,
        image_size=8,
        strokes_classes=1,
        strokes_instances=1,
        strokes_seed=0,
    )
    assert found.fingerprint == load_image_folder(folder, tmp_path, 8).fingerprint


def test_other_files_and_hidden_ones_are_not_read(tmp_path: Path, folder: Path) -> None:
    plain = load_image_folder(folder, tmp_path / "cache", 8)
    (folder / "README.txt").write_text("x")
    (folder / "cat" / "notes.txt").write_text("x")
    (folder / "cat" / "._00.png").write_text("x")
    (folder / ".git").mkdir()
    (folder / "cat" / ".ipynb_checkpoints").mkdir()
    (folder / "cat" / ".ipynb_checkpoints" / "00-checkpoint.png").write_bytes(_png(0))
    (folder / "__MACOSX" / "cat").mkdir(parents=True)
    (folder / "__MACOSX" / "cat" / "._00.png").write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX" / "._cat.png").write_bytes(b"\0\5\x16\7")
    assert load_image_folder(folder, tmp_path / "cache", 8).fingerprint == plain.fingerprint


def test_a_cached_set_is_not_decoded_again_until_a_file_changes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_image_folder(folder, tmp_path / "cache", 8)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "decode_photo", None)
        load_image_folder(folder, tmp_path / "cache", 8)
    (folder / "cat" / "00.png").write_bytes(_png(200))
    assert load_image_folder(folder, tmp_path / "cache", 8).fingerprint != before.fingerprint
    assert load_image_folder(folder, tmp_path / "cache", 9).images.shape[2:] == (3, 9, 9)


def _remove_an_image(folder: Path) -> None:
    (folder / "cat" / "03.png").unlink()


def _add_an_empty_class(folder: Path) -> None:
    (folder / "emu").mkdir()


def _put_an_image_beside(folder: Path) -> None:
    (folder / "stray.png").write_bytes(_png(0))


def _nest(folder: Path) -> None:
    (folder / "cat" / "more").mkdir()
    (folder / "cat" / "more" / ".hidden.png").write_bytes(b"")
    (folder / "cat" / "more" / "stray.png").write_bytes(_png(0))


def _damage(folder: Path) -> None:
    (folder / "cat" / "03.png").write_bytes(_png(3)[:-30])


def _add_a_photo_that_pillow_cannot_read(folder: Path) -> None:
    (folder / "cat" / "00.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def _unlink_target(folder: Path) -> None:
    (folder / "cat" / "03.png").unlink()
    (folder / "cat" / "03.png").symlink_to(folder / "nowhere.png")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_remove_an_image, r"at least 10 images of each class, found 9 in .*data/cat"),
        (_add_an_empty_class, r"at least 10 images of each class, found 0 in .*data/emu"),
        (_put_an_image_beside, r"images directly in a class folder, found .*data/stray\.png"),
        (_nest, r"images directly in the class folder .*data/cat, found .*cat/more/stray\.png"),
        (_damage, r"that decodes, found .*data/cat/03\.png"),
        (_unlink_target, r"data/cat/03\.png"),
        (_add_a_photo_that_pillow_cannot_read, r"data/cat/00\.heic: a HEIC photo, .*save it as JPEG"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name_and_leaves_no_cache(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    spoil(folder)
    with pytest.raises(DatasetError, match=complaint):
        load_image_folder(folder, tmp_path / "cache", 8)
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def test_a_class_folder_that_cannot_be_listed_is_refused_by_name(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def refuse_cat(path: Path) -> Iterator[Path]:
        if path.name == "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse_cat)
    with pytest.raises(DatasetError, match=r"that can be read, found: .*Permission denied.*data/cat"):
        load_image_folder(folder, tmp_path / "cache", 8)


def test_a_folder_that_is_missing_or_empty_or_not_given_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DatasetError, match=f"data-dir {tmp_path / 'nowhere'}, found no such folder"):
        load_image_folder(tmp_path / "nowhere", tmp_path, 8)
    with pytest.raises(DatasetError, match=f"data-dir {folder / 'cat' / '00.png'}, found a file"):
        load_image_folder(folder / "cat" / "00.png", tmp_path, 8)
    with pytest.raises(DatasetError, match="data-dir to be set"):
        load_image_folder(None, tmp_path, 8)
    with pytest.raises(DatasetError, match="image size of 1"):
        load_image_folder(folder, tmp_path, 0)
    for name in COUNTS:
        shutil.rmtree(folder / name)
    with pytest.raises(DatasetError, match=f"class folders in data-dir {folder}, found none"):
        load_image_folder(folder, tmp_path, 8)
