"""Custom objects in the place of built-in ones, and options of either: how they are found, called, and refused."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import default_values
from flwr.serverapp.strategy import FedAvg
from PIL import Image
from unit.custom_objects import Linear
from unit.small_federation import SMALL

from experiments.analysis.collection import collect
from experiments.plan import SETTINGS_OF_A_SEED
from experiments.runner.run import prepare
from experiments.settings import merge_settings
from fedmeta_flwr.attacks.key import BackdoorKeyError, build_key
from fedmeta_flwr.config import ConfigError, RunConfig, Value
from fedmeta_flwr.config.registry import BUILT_IN, RegistryError, is_custom, names, resolve
from fedmeta_flwr.data import DatasetError, ImageDataset, load_dataset
from fedmeta_flwr.learning.matching_network import make_attention
from fedmeta_flwr.learning.models import build_classifier, get_arrays
from fedmeta_flwr.records.checkpoint import SUFFIX, CheckpointError, save_checkpoint
from fedmeta_flwr.records.packing import pack
from fedmeta_flwr.records.run_checkpoints import FOLDER_NAME, RunCheckpoints
from fedmeta_flwr.records.writer import ResultsWriter
from strategies import Federation, FirstArrivals, SeededLatency, make_arrivals

CUSTOM = "unit.custom_objects"
KINDS = tuple(kind for kind in BUILT_IN if kind != "attack-layer")  # several, each with options, in attack-layers
LATER = {
    "num-adversaries",
    "attack-images",
    *("client", "adversary", "attack", "poisoning", "attention"),
    *(f"{kind}-options" for kind in KINDS if kind != "strategy"),
}
"""The settings that some published results lack."""
Prepare = Callable[..., str]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def prepared(run_config: Callable[..., RunConfig], cache_dir: Path, tmp_path: Path) -> Iterator[Prepare]:
    """Do all checks before a run with the object of a kind and its options; no check leaves anything behind."""

    def check(kind: str, name: str | None = None, options: str = "") -> str:
        changes: dict[str, Value] = {kind.replace("-", "_"): name} if name else {}
        folders = {"cache_dir": str(cache_dir), "results_dir": str(tmp_path / "results")}
        return prepare(run_config(**SMALL | folders | changes | {f"{kind.replace('-', '_')}_options": options}))

    yield check
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("value", ["a:b", "my.module:Class.method", "m:_x", "modül:é"])
def test_a_module_and_an_attribute_name_a_custom_object(value: str) -> None:
    assert is_custom(value)


@pytest.mark.parametrize("value", ["", "a", ":b", "a:", "a:b:c", "a/b:c", r"C:\key.png", "key.png", "a b:c", "1a:b"])
def test_nothing_else_names_a_custom_object(value: str) -> None:
    assert not is_custom(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("found", ["nonsense", ":Own", "a b:c"])
def test_an_unknown_name_is_refused_with_the_known_ones(prepared: Prepare, kind: str, found: str) -> None:
    others = ", an image file" if kind == "backdoor-key" else ""
    known = f"one of {', '.join(names(kind))}{others}, or 'module:attribute', found"
    with pytest.raises(ValueError, match=f"{kind}: expected {known} .*{found}"):
        prepared(kind, found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.such.module:x", "a module that can be imported, .*'no.such.module:x' .*ModuleNotFoundError"),
        ("unit.broken_module:x", "a module that can be imported, .*'unit.broken_module:x' .*ZeroDivisionError: at imp"),
        (f"{CUSTOM}:Nothing", f"an attribute of module '{CUSTOM}', found none named 'Nothing'"),
        (f"{CUSTOM}:Nested.Nothing", "an attribute of module .*, found none named 'Nested.Nothing'"),
        (f"{CUSTOM}:NUMBER", f"something to call, found '{CUSTOM}:NUMBER', of type int"),
        (f"{CUSTOM}:Demanding.{{}}", "'.*' to take the arguments of the built-in one, .*missing .*'strength'"),
        (f"{CUSTOM}:returns_nothing", r"'.*' to return \w+( or \w+)*, found NoneType|a subclass of flwr's Strategy"),
    ],
)
def test_a_custom_object_that_cannot_be_used_is_refused_by_its_setting(
    prepared: Prepare, kind: str, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^(1 problem.*\n *)?{kind}: expected ({message})"):
        prepared(kind, name.format(kind.replace("-", "_")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", ["{", "[1]", "3", "strength=2", "{'strength': 2}"])
def test_options_that_are_no_json_object_are_refused_by_their_setting(
    prepared: Prepare, kind: str, options: str
) -> None:
    with pytest.raises(ConfigError, match=f"{kind}-options: expected a JSON object, found {re.escape(repr(options))}"):
        prepared(kind, options=options)


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_a_built_in_object_does_not_take_is_refused_by_its_setting(prepared: Prepare, kind: str) -> None:
    with pytest.raises(ValueError, match=f"(?m)^ *{kind}-options: [^\n]*'strength'[^\n]*$"):
        prepared(kind, options='{"strength": 2}')


@pytest.mark.parametrize("kind", KINDS)
def test_a_custom_object_is_handed_its_options_and_no_others(prepared: Prepare, kind: str) -> None:
    name = f"{CUSTOM}:Demanding.{kind.replace('-', '_')}"
    prepared(kind, name, '{"strength": 2}')
    with pytest.raises(ValueError, match=f"(?m)^ *{kind}-options: .* refuses .*'strength': 3.*: strength must be 2$"):
        prepared(kind, name, '{"strength": 3}')
    with pytest.raises(ValueError, match=f"(?m)^ *{kind}-options: [^\n]*'power'[^\n]*$"):
        prepared(kind, name, '{"strength": 2, "power": 1}')


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("dataset", "image_size"),
        ("dataset", "seed"),
        ("client", "outer_lr"),
        ("adversary", "between_attacks"),
        ("arrival-model", "first"),
        ("embedding", "filters"),
        ("poisoning", "episode"),
        ("poisoning", "poison_fraction"),
        ("backdoor-key", "size"),
        ("attention", "features"),
    ],
)
def test_an_option_that_the_run_sets_itself_is_refused(prepared: Prepare, kind: str, option: str) -> None:
    message = f"^{kind}-options: expected no option that the run sets itself, found '{option}'$"
    with pytest.raises(RegistryError, match=message):
        prepared(kind, options=json.dumps({option: 1}))


def test_a_key_from_a_file_takes_no_options(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "key.png")
    arguments: dict[str, Any] = {"channels": 1, "image_size": 16, "size": 4, "position": "top-left", "intensity": 1.0}
    build_key(str(tmp_path / "key.png"), "{}", **arguments)
    with pytest.raises(RegistryError, match=r"backdoor-key-options: expected options of .*key.png \(none\), found 'x'"):
        build_key(str(tmp_path / "key.png"), '{"x": 1}', **arguments)


def test_every_built_in_object_can_be_imported() -> None:
    assert all(callable(resolve(kind, name)) for kind in KINDS for name in names(kind))


def build(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return get_arrays(build_classifier(name, channels=1, image_size=16, filters=4, way=3, generator=generator))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{CUSTOM}:needs_more", "embedding: expected .* to take the arguments of the built-in one, .*'depth'"),
        (f"{CUSTOM}:no_embedding", "embedding: expected .* to return Embedding, found Flatten"),
        (f"{CUSTOM}:Liar", r"embedding: expected features of shape \(2, 5\) for 2 images from .*, found \(2, 4\)"),
        (
            f"{CUSTOM}:Frozen",
            r"embedding: expected every parameter of .* to be trained .*, found 'layer.weight' without",
        ),
        (f"{CUSTOM}:Idle", r"embedding: expected every parameter of .* to be trained .*, found 'unused' without"),
    ],
)
def test_an_embedding_of_another_form_is_refused(name: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        build(name)


def test_a_custom_embedding_and_attention_begin_with_weights_of_the_given_seed_only() -> None:
    name = f"{CUSTOM}:{Linear.__name__}"
    state = torch.get_rng_state()
    first, again, other = build(name), build(name), build(name, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["embedding.layer.weight"], other["embedding.layer.weight"])
    weights = [
        get_arrays(make_attention(f"{CUSTOM}:RandomAttention", features=3, temperature=0.1, generator=generator))
        for generator in (torch.Generator().manual_seed(seed) for seed in (0, 0, 1))
    ]
    assert [np.array_equal(weights[0]["weight"], found["weight"]) for found in weights] == [True, True, False]
    assert torch.equal(state, torch.get_rng_state())


def test_a_key_for_other_images_is_refused() -> None:
    with pytest.raises(BackdoorKeyError, match=r"expected a pattern of shape \(1, 16, 16\).*found \(16, 16\)"):
        build_key(f"{CUSTOM}:flat_key", channels=1, image_size=16, size=4, position="top-left", intensity=1.0)


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
        build_key(f"{CUSTOM}:{name}", channels=1, image_size=16, size=4, position="top-left", intensity=1.0)


def test_a_dataset_has_the_size_that_is_asked_for_and_is_read_only(tmp_path: Path) -> None:
    def load(image_size: int) -> ImageDataset:
        strokes: dict[str, Any] = {"strokes_classes": 0, "strokes_instances": 0, "strokes_seed": 0}
        name = f"{CUSTOM}:small_images"
        return load_dataset(name, data_dir=None, cache_dir=tmp_path, image_size=image_size, **strokes)

    dataset = load(8)
    assert (dataset.name, dataset.images.flags.writeable) == (f"{CUSTOM}:small_images", False)
    assert dataset.fingerprint == load(8).fingerprint
    with pytest.raises(DatasetError, match=r"dataset: expected images of 16 x 16 pixels .* found 8 x 8"):
        load(16)


def test_an_arrival_model_may_be_an_attribute_of_an_attribute() -> None:
    arguments: dict[str, Any] = {"seed": 4, "median_seconds": 2.0, "sigma": 0.1, "first": frozenset()}
    assert make_arrivals(f"{CUSTOM}:Nested.Latency", **arguments) == SeededLatency(**arguments)
    with pytest.raises(RegistryError, match=r"arrival-model: expected .* to take the arguments of the built-in one"):
        make_arrivals(f"{CUSTOM}:needs_more", **arguments)


def test_all_custom_objects_that_cannot_be_used_are_reported_at_once_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config(
        dataset="no.such:one", client="no.such:two", strategy="no.such:three", results_dir=str(tmp_path / "results")
    )
    with pytest.raises(ConfigError) as caught:
        prepare(config)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["dataset", "client", "strategy"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("poisoning", "poisons_with_floats", r"images of uint8 and shape \(1, 16, 16\) from .*, found float32"),
        ("attention", "NarrowAttention", r".* to return shape \(3, 4\) for 3 queries and 4 support rows, found \(3,\)"),
    ],
)
def test_what_would_fail_in_clients_rounds_later_is_reported_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path, key: str, name: str, message: str
) -> None:
    small = {**SMALL, "cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "results")}
    with pytest.raises(RegistryError, match=f"{key}: expected {message}"):
        prepare(run_config(**{**small, key: f"{CUSTOM}:{name}"}))
    assert not (tmp_path / "results").exists()


def test_a_custom_key_is_not_taken_for_a_file() -> None:
    assert merge_settings({"backdoor-key": "my_module:key"}) == {"backdoor-key": "my_module:key"}


def test_first_arrivals_needs_a_strategy_and_the_federations_size_only() -> None:
    swapped = FirstArrivals(FedAvg(), Federation(num_clients=4, quorum=3))
    assert swapped.arrivals == SeededLatency(0, median_seconds=1.0, sigma=0.5)
    assert (swapped.federation.late_updates, swapped.federation.weighting) == ("drop", "uniform")
    assert swapped.schedule.phase(1) == "benign"
    assert swapped.schedule.is_evaluated(1)


def lacking(config: RunConfig) -> dict[str, Any]:
    """Return what some published results have of a configuration."""
    return {key: value for key, value in config.to_run_config().items() if key not in LATER}


def test_a_file_without_these_settings_stands_for_what_its_run_did(run_config: Callable[..., RunConfig]) -> None:
    config = run_config()
    assert RunConfig.with_later_settings(lacking(config)) == config.to_run_config() == default_values()
    assert config.differences(lacking(config)) == []
    custom = run_config(attention="my_module:Attention")
    assert custom.differences(lacking(config)) == ["attention: expected 'my_module:Attention', found 'cosine'"]
    assert config.differences(lacking(config) | {"way": 7}) == ["way: expected 5, found 7"]


def test_a_run_resumes_from_a_checkpoint_without_these_settings(
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
    assert not LATER & SETTINGS_OF_A_SEED
    for seed, written in ((0, lacking(run_config(seed=0))), (1, run_config(seed=1).to_run_config())):
        with ResultsWriter(tmp_path / "strokes" / "quick" / f"seed-{seed}" / "attack-a") as writer:
            writer.write_run({"config": json.loads(json.dumps(written))})
            writer.write_end("completed", 1.0)
    (collection,) = collect(tmp_path)
    assert collection.seeds("attack-a") == (0, 1)
