import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.data import load_dataset, load_mini_imagenet, mini_imagenet

from .made_up_photos import (
    CLASSES,
    FIRST,
    GROUPS,
    ORDER,
    Files,
    Pickles,
    WritePickles,
    WriteZip,
    jpg,
    red_of,
    write_folder,
)


def _assert_expected(images: np.ndarray) -> None:
    """Compare with the reds of the photos; JPEG may be off by 2."""
    assert images.shape == (5, 3, 3, 8, 8)
    reds = np.array([[red_of(name, instance) for instance in range(3)] for name in ORDER])
    np.testing.assert_allclose(images[:, :, 0], np.broadcast_to(reds[..., None, None], (5, 3, 8, 8)), atol=2)
    np.testing.assert_allclose(images[:, :, 1], 60, atol=2)
    np.testing.assert_allclose(images[:, :, 2], 120, atol=2)


def test_photos_are_sorted_by_split_class_and_file_name(tmp_path: Path, files: Files, write_zip: WriteZip) -> None:
    dataset = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert (dataset.name, dataset.class_names, dataset.groups) == ("mini-imagenet", ORDER, GROUPS)
    _assert_expected(dataset.images)


def test_the_split_of_the_data_set_leaves_validation_classes_out(
    tmp_path: Path, files: Files, write_zip: WriteZip
) -> None:
    dataset = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    assert dataset.meta_train_classes == (0, 1)
    assert dataset.meta_test_classes == (3, 4)


def test_an_archive_a_folder_and_an_archive_of_the_folder_give_the_same_data(
    tmp_path: Path, files: Files, write_zip: WriteZip
) -> None:
    zipped = load_mini_imagenet(write_zip(files), tmp_path / "cache", 8)
    inner = load_mini_imagenet(write_zip({f"mini/{name}": files[name] for name in files}), tmp_path / "cache", 8)
    folder = load_mini_imagenet(write_folder(tmp_path / "folder", files), tmp_path / "cache", 8)
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


def test_a_pickle_with_the_name_that_learn2learn_gives_it_is_read(
    tmp_path: Path, pickles: Pickles, write_pickles: WritePickles
) -> None:
    plain = load_mini_imagenet(write_pickles(pickles), tmp_path / "cache", 8)
    pickles["validation"] = pickles.pop("val")  # as in learn2learn 0.2.0, learn2learn/vision/datasets/mini_imagenet.py
    data_dir = write_pickles(pickles, folder=tmp_path / "learn2learn")
    assert load_mini_imagenet(data_dir, tmp_path / "cache", 8).fingerprint == plain.fingerprint
    (data_dir / "mini-imagenet-cache-val.pkl").write_bytes((tmp_path / "data/mini-imagenet-cache-val.pkl").read_bytes())
    (data_dir / "mini-imagenet-cache-validation.pkl").write_bytes(b"not read where the other is there")
    assert load_mini_imagenet(data_dir, tmp_path / "cache", 8).fingerprint == plain.fingerprint


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
    files[FIRST] = jpg(255)
    assert load_mini_imagenet(write_zip(files), tmp_path / "cache", 8).fingerprint != before.fingerprint
    assert load_mini_imagenet(tmp_path / "data", tmp_path / "cache", 9).images.shape[2:] == (3, 9, 9)


def test_a_changed_list_of_a_folder_is_not_served_from_the_cache(tmp_path: Path, files: Files) -> None:
    folder = write_folder(tmp_path / "folder", files)
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


@pytest.mark.slow
@pytest.mark.real_data
def test_real_photos_are_read_whole_and_not_decoded_again(
    tmp_path: Path, mini_imagenet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_mini_imagenet(mini_imagenet_dir, tmp_path, 42)
    assert dataset.images.shape[0::2] == (100, 3, 42)
    assert [dataset.groups.count(split) for split in ("train", "val", "test")] == [64, 16, 20]
    assert dataset.num_instances in (200, 600)  # of the stand-in, of the real one
    # `dataset.images.mean(axis=(0, 1, 3, 4))` is (120.8, 113.3, 99.1) for the stand-in; photos of ImageNet are
    # reddish: (123.7, 116.3, 103.5), as torchvision's normalisation has it.
    np.testing.assert_allclose(dataset.images.mean(axis=(0, 1, 3, 4)), (122, 115, 101), atol=4)
    assert (dataset.images.reshape(100, dataset.num_instances, -1).std(axis=2) > 1).mean() > 0.99
    monkeypatch.setattr(mini_imagenet, "decode_photo", None)
    assert load_mini_imagenet(mini_imagenet_dir, tmp_path, 42).fingerprint == dataset.fingerprint
