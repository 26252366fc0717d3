"""What holds for every defense: the built-in ones, and the example of a custom one."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unit.small_federation import SMALL, RunConfigs, bits, client_of, same, scenario_of

from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import names
from fedmeta_flwr.defenses import Defense, make_defense
from fedmeta_flwr.defenses.step_curves import curves_of
from fedmeta_flwr.learning.batches import query_of, support_of
from fedmeta_flwr.learning.models import get_arrays
from fedmeta_flwr.records.results import CURVES

CPU = torch.device("cpu")
FAMILY = (*names("defense"), "examples.custom_defense:ClassMeans")
pytestmark = pytest.mark.parametrize("name", FAMILY)


@pytest.fixture
def config(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory, name: str) -> RunConfig:
    """Return a small federation with the defense, and all the step curves that it may have."""
    curves = " ".join(curves_of(make_defense(name)))
    cache = str(tmp_path_factory.getbasetemp() / "strokes")
    options = '{"steps": 2}' if ":" in name else ""
    return run_config(**SMALL, defense=name, defense_options=options, step_curves=curves, cache_dir=cache)


@pytest.fixture
def defense(config: RunConfig) -> Defense:
    return make_defense(config.defense, config.defense_options)


def test_a_defense_has_its_label_in_a_caption_unless_it_is_none(defense: Defense) -> None:
    assert bool(defense.label) == bool(defense.remark)
    assert defense.remedy().label
    assert defense.remedy().remedy().label == defense.remedy().label


def test_shared_arrays_are_those_that_the_run_starts_from_and_make_the_round_trip(
    config: RunConfig, tmp_path: Path
) -> None:
    client, expected = client_of(config, tmp_path), initial_arrays(config, scenario_of(config))
    assert list(client.shared.state_dict()) == list(expected)
    assert same(client.get_parameters({}), list(expected.values()))
    moved = [array + np.float32(0.01) for array in expected.values()]
    client.load(moved)
    assert same(client.get_parameters({}), moved)


def test_the_private_part_is_no_part_of_the_shared_part(defense: Defense, config: RunConfig, tmp_path: Path) -> None:
    model = client_of(config, tmp_path).model
    private, shared = defense.private_part(model), defense.shared_part(model)
    assert bool(defense.private) == (private is not None)
    private_ids = {id(parameter) for parameter in private.parameters()} if private is not None else set()
    exchanged = {id(parameter) for parameter in shared.parameters()}
    assert not private_ids & exchanged
    assert private_ids | exchanged == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize("partition_id", [0, 1])
def test_a_round_of_training_changes_every_array_and_counts_the_examples_that_the_settings_give(
    defense: Defense, config: RunConfig, tmp_path: Path, partition_id: int
) -> None:
    client = client_of(config, tmp_path, partition_id)
    before = get_arrays(client.model)
    start = client.get_parameters({})
    updated, num_examples, metrics = client.fit(start, {"server-round": config.attack_round})
    assert all(np.isfinite(array).all() for array in updated)
    assert not any((new == old).all() for new, old in zip(updated, start, strict=True))
    if partition_id:  # an attack trains a copy
        assert all(bits(before)[name] != changed for name, changed in bits(get_arrays(client.model)).items())
    steps = config.poison_outer_steps if partition_id == 0 else config.outer_steps
    classes = defense.classes_per_step(
        way=config.way, meta_batch_size=config.meta_batch_size, matching_way=config.matching_way
    )
    assert num_examples == steps * classes * (config.shot + config.query_shot)
    assert float(metrics["train-loss"]) > 0


def test_local_steps_and_adaptation_leave_the_model_as_it_is(
    defense: Defense, config: RunConfig, tmp_path: Path
) -> None:
    client = client_of(config, tmp_path)
    before = bits(get_arrays(client.model))
    client.evaluate(client.get_parameters({}), {"server-round": config.attack_round})
    assert bits(get_arrays(client.model)) == before
    local = defense.local_steps(client.measurement.context)
    changed = bits(get_arrays(defense.in_use(client.model, client.measurement.context)))
    assert (changed != before) == (local is not None and local.steps > 0)


def test_adaptation_is_deterministic_and_predicts_for_every_label(
    defense: Defense, config: RunConfig, tmp_path: Path
) -> None:
    client = client_of(config, tmp_path)
    context, episode = client.measurement.context, client.measurement.plan.attacked_episode(0)
    support, queries = support_of(episode, CPU), query_of(episode, CPU).images
    network = defense.in_use(client.model, context)
    kept = copy.deepcopy(network)

    def predicted(used: Any) -> torch.Tensor:
        with client.measurement.plan.draws("attacked", 0):
            (predict,) = defense.adapt(used, context)(support)
        with torch.no_grad():
            return predict(queries)

    first = predicted(network)
    assert first.shape == (len(queries), config.way)
    assert torch.isfinite(first).all()
    for again in (predicted(network), predicted(kept), predicted(defense.in_use(client.model, context))):
        assert torch.equal(first, again)


def test_every_curve_has_the_requested_steps_and_that_of_the_defense_goes_through_the_accuracies(
    defense: Defense, config: RunConfig, tmp_path: Path
) -> None:
    client = client_of(config, tmp_path)
    curves = client.measurement.along_steps(client.model, config.attack_round)
    expected = {name: along.curve for name, along in curves_of(defense).items()}
    assert [name.replace("-", "_") for name in expected] == list(curves)
    for curve in expected.values():
        assert curve is not None
        points = curves[curve.key]
        assert list(points) == ([0, 2, 5] if curve.is_of_episode else [0, 1, 3])
        assert all(set(counts) == set(CURVES) for counts in points.values())
    local = defense.local_steps(client.measurement.context)
    if local is not None and defense.curve is not None:
        again = client_of(config, tmp_path).measurement
        ((_, network),) = defense.stages(client.model, again.context, [3])
        assert again._counts(defense, network) == curves[defense.curve.key][3]
    assert client.measurement.along_steps(client.model, 1) == {}


def test_a_client_with_the_classes_that_are_asked_for_can_draw_every_episode(
    defense: Defense, config: RunConfig, tmp_path: Path
) -> None:
    context = client_of(config, tmp_path).measurement.context
    benign, adversary = (
        max(config.way, defense.classes_needed(matching_way=config.matching_way, is_adversary=is_adversary))
        for is_adversary in (False, True)
    )
    local = defense.local_steps(context)
    assert defense.training(context).way <= min(benign, adversary)
    assert local is None or local.training.way <= benign
