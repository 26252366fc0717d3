import io
import logging
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.datasets import DatasetError, load_dataset, load_mini_imagenet, mini_imagenet
from fedmeta_flwr.scenario import load_scenario

Files = dict[str, bytes]
Pickles = dict[str, dict[Any, Any]]
WriteZip = Callable[[Files], Path]
WritePickles = Callable[..., Path]

REPOSITORY = Path(__file__).parents[3]
CLASSES = {"train": ("n05", "n02"), "val": ("n03",), "test": ("n04", "n01")}
ORDER = ("n02", "n05", "n03", "n01", "n04")
GROUPS = ("train", "train", "val", "test", "test")
FIRST = "images/n050.jpg"


def _jpg(red: int, size: tuple[int, int] = (20, 16)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (red, 60, 120)).save(file, "JPEG", quality=100)
    return file.getvalue()


def _red(name: str, instance: int) -> int:
    return 40 * int(name[1:]) + 10 * instance


@pytest.fixture
def files() -> Files:
    """Return 5 classes of 3 photos in the Ravi & Larochelle layout, lists last and photos in no particular order."""
    found: Files = {}
    for split, names in CLASSES.items():
        photos = [(f"{name}{instance}.jpg", name, instance) for name in names for instance in (2, 0, 1)]
        found |= {f"images/{photo}": _jpg(_red(name, instance)) for photo, name, instance in photos}
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


def _write_folder(folder: Path, content: Files) -> Path:
    for name, entry in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(entry)
    return folder


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
                photos[row, :, :, 0] = _red(name, instance)
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


def _assert_expected(images: np.ndarray) -> None:
    """Compare with the reds of the photos; JPEG may be off by 2."""
    assert images.shape == (5, 3, 3, 8, 8)
    reds = np.array([[_red(name, instance) for instance in range(3)] for name in ORDER])
    np.testing.assert_allclose(images[:, :, 0], np.broadcast_to(reds[..., None, None], (5, 3, 8, 8)), atol=2)
    np.testing.assert_allclose(images[:, :, 1], 60, atol=2)
    np.testing.assert_allclose(images[:, :, 2], 120, atol=2)


def test_photos_are_sorted_by_split_class_and_file_name(tmp_path: Path, files: Files, write_zip: WriteZip) -> None:
    dataset = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert (dataset.name, dataset.class_names, dataset.groups) == ("mini-imagenet", ORDER, GROUPS)
    _assert_expected(dataset.images)


def test_the_split_of_its_own_leaves_validation_classes_out(tmp_path: Path, files: Files, write_zip: WriteZip) -> None:
    dataset = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert dataset.meta_train_classes == (0, 1)
    assert dataset.meta_test_classes == (3, 4)


def test_an_archive_a_folder_and_an_archive_of_the_folder_give_the_same_data(
    tmp_path: Path, files: Files, write_zip: WriteZip
) -> None:
    zipped = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    inner = load_mini_imagenet(write_zip({f"mini/{name}": files[name] for name in files}), tmp_path / "cache", 8)
    folder = load_mini_imagenet(_write_folder(tmp_path / "folder", files), tmp_path / "cache", 8)
    assert zipped.fingerprint == inner.fingerprint == folder.fingerprint


def test_the_order_of_a_list_and_photos_beside_it_do_not_matter(
    tmp_path: Path, files: Files, write_zip: WriteZip
) -> None:
    plain = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    header, *lines = files["train.csv"].decode().split()
    files["train.csv"] = "\r\n".join([f"\ufeff{header}", *sorted(lines), "", ""]).encode()
    files |= {"images/other.jpg": b"x", "README.txt": b"x", "__MACOSX/images/._n010.jpg": b"x"}
    assert load_mini_imagenet(write_zip(files), tmp_path / "cache", 8).fingerprint == plain.fingerprint


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_give_the_same_classes(
    tmp_path: Path, pickles: Pickles, write_pickles: WritePickles, protocol: int
) -> None:
    dataset = load_mini_imagenet(write_pickles(pickles, protocol), tmp_path / "cache", 8)
    assert (dataset.class_names, dataset.groups) == (ORDER, GROUPS)
    _assert_expected(dataset.images)


def test_rows_may_be_arrays_and_names_bytes(tmp_path: Path, pickles: Pickles, write_pickles: WritePickles) -> None:
    plain = load_mini_imagenet(write_pickles(pickles), tmp_path / "cache", 8)
    for split, fields in pickles.items():
        rows = {name.encode(): np.array(found) for name, found in fields["class_dict"].items()}
        pickles[split] = {b"image_data": fields["image_data"], b"class_dict": rows}
    assert load_mini_imagenet(write_pickles(pickles), tmp_path / "cache", 8).fingerprint == plain.fingerprint


def test_photos_are_preferred_to_pickles_and_a_line_says_so(
    tmp_path: Path, files: Files, write_zip: WriteZip, write_pickles: WritePickles, caplog: pytest.LogCaptureFixture
) -> None:
    plain = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert "pickles" not in caplog.text
    data_dir = write_pickles({split: {} for split in CLASSES})
    with caplog.at_level(logging.WARNING):
        assert load_mini_imagenet(data_dir, tmp_path / "cache", 8).fingerprint == plain.fingerprint
    assert f"{data_dir} holds photos and pickles: the pickles are not read" in caplog.text


def test_other_numbers_than_those_of_mini_imagenet_are_warned_about(
    tmp_path: Path, files: Files, write_zip: WriteZip, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert (
        "{'train': 2, 'val': 1, 'test': 2} of 3 photos each, mini-ImageNet has {'train': 64, 'val': 16," in caplog.text
    )


def test_a_cached_set_is_not_decoded_again_until_a_photo_or_the_size_changes(
    tmp_path: Path, files: Files, write_zip: WriteZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    with monkeypatch.context() as patch:
        patch.setattr(mini_imagenet, "decode_photo", None)
        load_mini_imagenet(tmp_path / "data", tmp_path / "cache", 8)
    files[FIRST] = _jpg(255)
    assert load_mini_imagenet(write_zip(files), tmp_path / "cache", 8).fingerprint != before.fingerprint
    assert load_mini_imagenet(tmp_path / "data", tmp_path / "cache", 9).image_shape == (3, 9, 9)


def test_a_changed_list_of_a_folder_is_not_served_from_the_cache(tmp_path: Path, files: Files) -> None:
    folder = _write_folder(tmp_path / "folder", files)
    before = load_mini_imagenet(folder, tmp_path / "cache", 8)
    (folder / "val.csv").write_bytes(files["val.csv"].replace(b",n03", b",n09"))
    assert load_mini_imagenet(folder, tmp_path / "cache", 8).class_names != before.class_names


def test_it_is_loaded_by_name(tmp_path: Path, files: Files, write_zip: WriteZip) -> None:
    found = load_dataset(
        "mini-imagenet",
        data_dir=write_zip(files),
        cache_dir=tmp_path,
        image_size=8,
        strokes_classes=1,
        strokes_instances=1,
        strokes_seed=0,
    )
    assert found.fingerprint == load_mini_imagenet(tmp_path / "data", tmp_path, 8).fingerprint


def test_a_run_meta_trains_and_meta_tests_on_the_classes_of_the_split(
    tmp_path: Path, files: Files, write_zip: WriteZip, run_config: Callable[..., RunConfig]
) -> None:
    scenario = load_scenario(
        run_config(
            dataset="mini-imagenet",
            data_dir=str(_many_classes(files, write_zip)),
            cache_dir=str(tmp_path / "cache"),
            image_size=16,
            embedding="conv4-pool",
            way=2,
            shot=1,
            query_shot=1,
            evaluate_query_shot=1,
            backdoor_classes=1,
            attack_training_instances=2,
            attack_validation_instances=1,
            poison_fraction=0.1,
            num_clients=3,
            quorum=2,
            meta_test_fraction=0.5,
        )
    )
    groups = scenario.dataset.groups
    assert [groups[index] for index in scenario.split.meta_test] == ["test"] * 4
    trained = [*(index for part in scenario.split.clients for index in part), *scenario.split.backdoor_classes]
    assert {groups[index] for index in [*trained, scenario.split.target_class]} == {"train"}
    assert len(trained) + 1 == 10


def _many_classes(files: Files, write_zip: WriteZip) -> Path:
    """Write 10 classes to train, 3 to validate, 4 to test, of 4 photos each."""
    photo = files[FIRST]
    many: Files = {}
    for split, count in (("train", 10), ("val", 3), ("test", 4)):
        names = [
            (f"{split}{number}-{instance}.jpg", f"{split}{number}") for number in range(count) for instance in range(4)
        ]
        many |= {f"images/{name}": photo for name, _ in names}
        many[f"{split}.csv"] = "\n".join(["filename,label", *(",".join(pair) for pair in names)]).encode()
    return write_zip(many)


Spoil = Callable[[Files], object]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda files: files.pop(FIRST), r"train\.csv names .*found no images/n050\.jpg \(1 are missing\)"),
        (lambda files: files.pop("val.csv"), r"found no val\.csv"),
        (lambda files: files.update({"val.csv": b""}), r"the header filename,label, found '': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"n030.jpg,n03\n"}), r"found 'n030\.jpg,n03': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\n\xff,a"}), r"a CSV file, found 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\nn030.jpg\n"}), r"found 'n030\.jpg': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\nn030.jpg,\n"}), r"found 'n030\.jpg,': 'val\.csv'"),
        (lambda files: files.update({"val.csv": b"filename,label\n"}), "classes in each split, found none in val"),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031.jpg,n03\n", b"")}),
            r"expected 3 photos of each class, as most have, found 2 of n03 \(val\)",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b",n03", b",n01")}),
            "expected a class in one split, found n01 in two",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031", b"n030")}),
            r"a photo in one place, found n030\.jpg 2 times",
        ),
        (
            lambda files: files.update({"val.csv": files["val.csv"].replace(b"n031", b"n011")}),
            r"a photo in one place, found n011\.jpg 2 times",
        ),
        (lambda files: files.update({f"more/{FIRST}": b"x"}), rf"one file of a name, found another: 'more/{FIRST}'"),
        (lambda files: files.update({FIRST: b"x"}), rf"that decodes, found '{FIRST}'"),
        (lambda files: files.update({FIRST: _jpg(0)[:-20]}), rf"that decodes, found '{FIRST}'"),
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
        ({"class_dict": {"n03": [0, 1, 1]}}, "a photo in one place, found 1 2 times"),
        (
            {"class_dict": {"n03": [0], "n06": [1]}},
            r"expected 3 photos of each class, as most have, found 1 of n03 \(val\)",
        ),
        ({"class_dict": {"n01": [0, 1, 2]}}, "a class in one split, found n01 in two"),
        ({"class_dict": {}}, "found none in val"),
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
        load_mini_imagenet(_write_folder(tmp_path / "folder", files), tmp_path, 8)


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, files: Files) -> None:
    folder = _write_folder(tmp_path / "folder", files)
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


def test_photos_are_decoded_into_a_file_rather_than_into_memory(
    tmp_path: Path, files: Files, write_zip: WriteZip, pickles: Pickles, write_pickles: WritePickles
) -> None:
    built = [
        mini_imagenet._read_photos([write_zip(files) / "mini-imagenet.zip"], tmp_path, 8),
        mini_imagenet._read_pickles(sorted(write_pickles(pickles).glob("*.pkl"), reverse=True), tmp_path, 8),
    ]
    for dataset in built:
        assert isinstance(dataset.images, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.fixture
def real_data_dir() -> Path:
    """Return the folder of the real photos, or skip."""
    named = os.environ.get("FEDMETA_MINI_IMAGENET_DIR")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "mini-imagenet"
    if not folder.is_dir():
        pytest.skip(f"no photos in mini-ImageNet's layout: {folder} is missing (set FEDMETA_MINI_IMAGENET_DIR)")
    return folder


@pytest.mark.real_data
def test_real_photos_are_read_whole_and_cheaply_when_cached(tmp_path: Path, real_data_dir: Path) -> None:
    dataset = load_mini_imagenet(real_data_dir, tmp_path, 42)
    assert dataset.images.shape[0::2] == (100, 3, 42)
    assert [dataset.groups.count(split) for split in ("train", "val", "test")] == [64, 16, 20]
    assert dataset.num_instances in (200, 600)  # of the stand-in, of the real one
    # `dataset.images.mean(axis=(0, 1, 3, 4))` is (120.8, 113.3, 99.1) for the stand-in; photos of ImageNet are
    # reddish: (123.7, 116.3, 103.5), as torchvision's normalisation has it.
    np.testing.assert_allclose(dataset.images.mean(axis=(0, 1, 3, 4)), (122, 115, 101), atol=4)
    assert (dataset.images.reshape(100, dataset.num_instances, -1).std(axis=2) > 1).mean() > 0.99
    start = time.perf_counter()
    again = load_mini_imagenet(real_data_dir, tmp_path, 42)
    # Most of it is the archive's digest: 0.04 s for the stand-in's 42 MB.
    assert time.perf_counter() - start < 0.5 + 10 * _gigabytes(real_data_dir)
    assert again.fingerprint == dataset.fingerprint


def _gigabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
