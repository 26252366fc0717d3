"""Objects of the user's own in the place of built-in ones: how they are found, called, and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import default_values
from flwr.serverapp.strategy import FedAvg
from unit.own_objects import Linear
from unit.small_federation import SMALL

from experiments.analysis.collection import OWN_SETTINGS, collect
from experiments.runner.run import prepare
from experiments.settings import merge_settings
from fedmeta_flwr.attacks.key import BackdoorKeyError, build_key
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.registry import OwnCodeError, is_own, load_own
from fedmeta_flwr.data import DatasetError, ImageDataset, load_dataset
from fedmeta_flwr.data.episodes import make_poison, poison_episode
from fedmeta_flwr.learning.matching_network import make_attention
from fedmeta_flwr.learning.models import build_classifier, get_arrays
from fedmeta_flwr.records.checkpoint import SUFFIX, CheckpointError, save_checkpoint
from fedmeta_flwr.records.packing import pack
from fedmeta_flwr.records.run_checkpoints import FOLDER_NAME, RunCheckpoints
from fedmeta_flwr.records.writer import ResultsWriter
from strategies import FirstArrivals, SeededLatency, make_arrivals

OWN = "unit.own_objects"
LATER = {"client", "adversary", "poisoning", "attention"}
"""The settings that some published results lack."""


@pytest.mark.parametrize("value", ["a:b", "my.own_module:Class.method", "m:_x", "modül:é"])
def test_a_module_and_an_attribute_name_an_own_object(value: str) -> None:
    assert is_own(value)


@pytest.mark.parametrize("value", ["", "a", ":b", "a:", "a:b:c", "a/b:c", r"C:\key.png", "key.png", "a b:c", "1a:b"])
def test_nothing_else_names_an_own_object(value: str) -> None:
    assert not is_own(value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.such.module:x", "key: expected a module that can be imported, .*'no.such.module:x' .*ModuleNotFoundError"),
        ("unit.broken_module:x", "'unit.broken_module:x' .*ZeroDivisionError: at import"),
        (f"{OWN}:Nothing", f"key: expected an attribute of module '{OWN}', found none named 'Nothing'"),
        (f"{OWN}:Nested.Nothing", "found none named 'Nested.Nothing'"),
        (f"{OWN}:NUMBER", f"key: expected something to call, found '{OWN}:NUMBER', a int"),
    ],
)
def test_an_object_that_cannot_be_used_is_told_by_its_setting(name: str, message: str) -> None:
    with pytest.raises(OwnCodeError, match=message):
        load_own("key", name)


def build(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return get_arrays(build_classifier(name, channels=1, image_size=16, filters=4, way=3, generator=generator))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{OWN}:needs_more", "embedding: expected .* to take the arguments of the built-in one, .*'depth'"),
        (f"{OWN}:no_embedding", "embedding: expected .* to return a Embedding, found a Flatten"),
        (f"{OWN}:Liar", r"embedding: expected features of shape \(2, 5\) for 2 images from .*, found \(2, 4\)"),
        (f"{OWN}:Frozen", r"embedding: expected every parameter of .* to be trained .*, found 'layer.weight' without"),
        (f"{OWN}:Idle", r"embedding: expected every parameter of .* to be trained .*, found 'unused' without"),
    ],
)
def test_an_embedding_of_another_form_is_refused(name: str, message: str) -> None:
    with pytest.raises(OwnCodeError, match=message):
        build(name)


def test_an_own_embedding_and_attention_begin_with_weights_of_the_given_seed_alone() -> None:
    name = f"{OWN}:{Linear.__name__}"
    state = torch.get_rng_state()
    first, again, other = build(name), build(name), build(name, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["embedding.layer.weight"], other["embedding.layer.weight"])
    weights = [
        get_arrays(make_attention(f"{OWN}:RandomAttention", features=3, temperature=0.1, generator=generator))
        for generator in (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    ]
    assert [np.array_equal(weights[0]["weight"], found["weight"]) for found in weights] == [True, True, False]
    assert torch.equal(state, torch.get_rng_state())


def test_a_key_for_other_images_is_refused() -> None:
    with pytest.raises(BackdoorKeyError, match=r"expected a pattern of shape \(1, 16, 16\).*found \(16, 16\)"):
        build_key(f"{OWN}:flat_key", channels=1, image_size=16, size=4, position="top-left", intensity=1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bright_key", r"a pattern of numbers in 0..255 from .*, found 300.0 to 300.0"),
        ("negative_key", r"a pattern of numbers in 0..255 from .*, found -1.0 to -1.0"),
        ("opaque_key", r"an opacity of numbers in 0..1 from .*, found 1.5 to 1.5"),
        ("unknown_key", r"an opacity of numbers in 0..1 from .*, found nan to nan"),
        ("invisible_key", "a pattern that covers some pixel"),
    ],
)
def test_a_key_that_no_image_can_bear_is_refused(name: str, message: str) -> None:
    with pytest.raises(BackdoorKeyError, match=f"expected {message}"):
        build_key(f"{OWN}:{name}", channels=1, image_size=16, size=4, position="top-left", intensity=1.0)


def test_a_dataset_has_the_size_that_is_asked_for_and_is_read_only(tmp_path: Path) -> None:
    def load(image_size: int) -> ImageDataset:
        strokes = {"strokes_classes": 0, "strokes_instances": 0, "strokes_seed": 0}
        name = f"{OWN}:small_images"
        return load_dataset(name, data_dir=None, cache_dir=tmp_path, image_size=image_size, **strokes)

    dataset = load(8)
    assert (dataset.name, dataset.images.flags.writeable) == (f"{OWN}:small_images", False)
    assert dataset.fingerprint == load(8).fingerprint
    with pytest.raises(DatasetError, match=r"dataset: expected images of 16 x 16 pixels .* found 8 x 8"):
        load(16)


def test_an_arrival_model_may_be_an_attribute_of_an_attribute() -> None:
    arguments: dict[str, Any] = {"seed": 4, "median_seconds": 2.0, "sigma": 0.1, "first": None}
    assert make_arrivals(f"{OWN}:Nested.Latency", **arguments) == SeededLatency(**arguments)
    with pytest.raises(OwnCodeError, match=r"arrival-model: expected .* to take the arguments of the built-in one"):
        make_arrivals(f"{OWN}:needs_more", **arguments)


def test_the_built_in_poisoning_has_a_name() -> None:
    assert make_poison("replacement") is poison_episode


def test_a_poisoning_with_other_arguments_is_refused() -> None:
    with pytest.raises(OwnCodeError, match=r"poisoning: expected .* to take the arguments .*too many positional"):
        make_poison(f"{OWN}:flat_key")


def test_all_own_objects_that_cannot_be_used_are_told_at_once_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config(
        dataset="no.such:one", client="no.such:two", strategy="no.such:three", results_dir=str(tmp_path / "results")
    )
    with pytest.raises(ConfigError) as caught:
        prepare(config)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["dataset", "client", "strategy"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("key", ["client", "adversary", "poisoning", "attention", "embedding"])
def test_what_would_fail_the_clients_alone_is_told_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path, key: str
) -> None:
    small = {**SMALL, "cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "results")}
    with pytest.raises(OwnCodeError, match=f"{key}: expected '{OWN}:needs_more' to take the arguments"):
        prepare(run_config(**{**small, key: f"{OWN}:needs_more"}))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        (
            "poisoning",
            "forgets_to_return",
            ".* to return an Episode, found a NoneType",
        ),
        ("poisoning", "poisons_with_floats", r"images of uint8 and shape \(1, 16, 16\) from .*, found float32"),
        ("attention", "NarrowAttention", r".* to return shape \(3, 4\) for 3 queries and 4 support rows, found \(3,\)"),
    ],
)
def test_what_would_fail_the_clients_rounds_later_is_told_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path, key: str, name: str, message: str
) -> None:
    small = {**SMALL, "cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "results")}
    with pytest.raises(OwnCodeError, match=f"{key}: expected {message}"):
        prepare(run_config(**{**small, key: f"{OWN}:{name}"}))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("key", ["dataset", "client", "embedding", "arrival-model", "poisoning", "attention"])
def test_a_setting_says_that_it_admits_own_objects(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected one of .*, or 'module:attribute', found 'nonsense'"):
        RunConfig.parse({**default_values(), key: "nonsense"})
    assert RunConfig.parse({**default_values(), key: "a:b"}).to_run_config()[key] == "a:b"


def test_an_own_key_is_not_taken_for_a_file() -> None:
    assert merge_settings({"backdoor-key": "my_module:key"}) == {"backdoor-key": "my_module:key"}


def test_first_arrivals_needs_a_strategy_and_the_federations_size_alone() -> None:
    swapped = FirstArrivals(FedAvg(), num_clients=4, quorum=3)
    assert swapped.arrivals == SeededLatency(0, median_seconds=1.0, sigma=0.5)
    assert (swapped.late_updates, swapped.weighting, swapped.seed) == ("drop", "uniform", 0)
    assert swapped.phase(1) == "benign"
    assert swapped.is_evaluated(1)


def lacking(config: RunConfig) -> dict[str, Any]:
    """Return what some published results have of a configuration."""
    return {key: value for key, value in config.to_run_config().items() if key not in LATER}


def test_a_file_without_these_settings_stands_for_what_its_run_did(run_config: Callable[..., RunConfig]) -> None:
    config = run_config()
    assert RunConfig.with_later_settings(lacking(config)) == config.to_run_config() == default_values()
    assert config.differences(lacking(config)) == []
    own = run_config(attention="my_module:Attention")
    assert own.differences(lacking(config)) == ["attention: expected 'my_module:Attention', found 'cosine'"]
    assert config.differences(lacking(config) | {"way": 7}) == ["way: expected 5, found 7"]


def test_a_checkpoint_without_these_settings_is_gone_on_from(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config()
    tree, arrays = pack({"server_round": 3})
    metadata = {"state": json.dumps(tree), "config": json.dumps(lacking(config))}
    (tmp_path / FOLDER_NAME).mkdir()
    save_checkpoint(tmp_path / FOLDER_NAME / f"round-00000003{SUFFIX}", arrays, metadata)
    assert RunCheckpoints(tmp_path).newest(config) == {"server_round": 3}
    with pytest.raises(CheckpointError, match="client: expected 'my_module:Client', found 'built-in'"):
        RunCheckpoints(tmp_path).newest(run_config(client="my_module:Client"))


def test_seeds_with_and_without_these_settings_are_one_collection(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    assert not LATER & OWN_SETTINGS
    for seed, written in ((0, lacking(run_config(seed=0))), (1, run_config(seed=1).to_run_config())):
        with ResultsWriter(tmp_path / "strokes" / "quick" / f"seed-{seed}" / "attack-a") as writer:
            writer.write_run({"config": json.loads(json.dumps(written))})
            writer.write_end("completed", 1.0)
    (collection,) = collect(tmp_path)
    assert collection.seeds("attack-a") == (0, 1)
