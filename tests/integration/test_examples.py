"""Every example of `examples/` in a small real run, and the evidence in the run's files that it was used."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType, RecordDict

from examples import custom_server
from examples.custom_adversary import BOUND
from examples.custom_arrival_model import Unreliable
from examples.custom_client import LARGEST_NORM, NOISE
from experiments.engines.inline import InlineGrid, run_inline
from experiments.engines.nodes import Nodes
from experiments.settings import APP_DIR, merge_settings, parse_override, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.protocol.messages import SERVER_ROUND, message_config
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    MODEL_FILE_NAME,
    load_checkpoint,
)
from fedmeta_flwr.records.entries import Arrival
from fedmeta_flwr.records.results import RoundRecord, RunResults, read_results

pytestmark = pytest.mark.usefixtures("task_identity")

BEFORE, ATTACK = 2, 3
SMALL: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "meta-batch-size": 1,
    "attack-round": ATTACK,
    "num-server-rounds": ATTACK,
    "poison-outer-steps": 6,
    "boost-factor": 6,
    "pretrain-evaluate-every": 0,
    "evaluate-every": 1,
    "evaluate-episodes": 1,
    "matching-way": 6,
    "matching-steps": 1,
    "checkpoint-every": 1,
    "device": "cpu",
}
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the app in this process with some settings changed, once for each choice of them; return the run's folder."""
    folders: dict[str, Path] = {}
    cache = tmp_path_factory.mktemp("cache")

    def run_once(**changes: Any) -> Path:
        overrides = {key.replace("_", "-"): value for key, value in changes.items()}
        if (name := json.dumps(overrides)) not in folders:
            folders[name] = tmp_path_factory.mktemp("run")
            where = {"results-dir": str(folders[name]), "cache-dir": str(cache)}
            run_inline(merge_settings(read_defaults(APP_DIR), SMALL | overrides | where))
        return folders[name]

    return run_once


class NotingGrid(InlineGrid):
    """Note the partition and the round of every instruction to train."""

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes)
        self.trained: list[tuple[int, object]] = []

    def carry(self, message: Message) -> None:
        if message.metadata.message_type == MessageType.TRAIN:
            partition_id = self.nodes.ids().index(message.metadata.dst_node_id)
            self.trained.append((partition_id, message_config(message)[SERVER_ROUND]))
        super().carry(message)


def arrivals(results: RunResults, server_round: int) -> dict[int, Arrival]:
    return {arrival.partition_id: arrival for arrival in results.at_round(server_round).arrivals}


def update(folder: Path) -> np.ndarray:
    """Return how the round of the attack changed the global model."""
    before, after = (load_checkpoint(folder / name) for name in (BEFORE_ATTACK_FILE_NAME, AFTER_ATTACK_FILE_NAME))
    changes: list[np.ndarray] = [(after.arrays[name] - before.arrays[name]).ravel() for name in before.arrays]
    return np.concatenate(changes)


def test_a_custom_strategy_clips_to_the_median_norm(finished: Run) -> None:
    folder = finished(strategy="examples.custom_strategy:MedianNormClipping", strategy_options='{"slack": 1.0}')
    norms = [arrival.update_norm for arrival in arrivals(read_results(folder), ATTACK).values()]
    assert max(norms) > 2 * np.median(norms)
    assert np.linalg.norm(update(folder)) <= np.median(norms) < np.linalg.norm(update(finished()))


def test_a_custom_server_rule_adds_its_momentum(finished: Run) -> None:
    def changes(momentum: float) -> np.ndarray:
        options = json.dumps({"momentum": momentum})
        return update(finished(strategy="examples.custom_rule:ServerMomentum", strategy_options=options))

    np.testing.assert_allclose(changes(0.0), update(finished()), rtol=1e-4, atol=1e-6)
    assert np.linalg.norm(changes(0.5) - changes(0.0)) > 0.01 * np.linalg.norm(changes(0.0))


def test_a_custom_client_clips_and_adds_noise(finished: Run) -> None:
    folder = finished(client="examples.custom_client:NoisyClient")
    size = update(folder).size
    found = arrivals(read_results(folder), BEFORE)
    assert 0 not in found
    for arrival in found.values():
        clipped = min(LARGEST_NORM, arrival.metrics["norm-before-clipping"])
        assert arrival.update_norm == pytest.approx(math.hypot(clipped, NOISE * math.sqrt(size)), rel=0.1)


def test_a_custom_adversary_stays_within_its_bound(finished: Run) -> None:
    bounded, plain = (
        arrivals(read_results(folder), ATTACK)
        for folder in (finished(adversary="examples.custom_adversary:QuietAdversary"), finished())
    )
    assert bounded[0].update_norm == pytest.approx(BOUND, rel=1e-5)
    assert plain[0].update_norm > 1.1 * BOUND
    assert {part: bounded[part] for part in bounded if part} == {part: plain[part] for part in plain if part}


def test_a_custom_attack_moves_a_share_of_the_weights(finished: Run) -> None:
    """The benign updates move every weight, so a federation without them shows what the attack uploads."""
    share = {"attack": "examples.custom_attack:FewWeights", "attack_options": '{"share": 0.2}'}
    folder, plain = (finished(quorum=1, **overrides) for overrides in (share, {}))
    assert np.mean(update(folder) != 0) == pytest.approx(0.2, abs=0.01)
    assert np.mean(update(plain) != 0) > 0.7
    norms = [arrivals(read_results(run), ATTACK)[0].update_norm for run in (folder, plain)]
    assert 0.3 * norms[1] < norms[0] < norms[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"backdoor_key": "examples.custom_key:waves", "key_intensity": 0.5},
        {"poisoning": "examples.custom_poisoning:blend_queries"},
    ],
    ids=["key", "poisoning"],
)
def test_a_custom_key_or_poisoning_changes_only_the_adversarys_update(finished: Run, changes: dict[str, Any]) -> None:
    overrides, plain = read_results(finished(**changes)), read_results(finished())
    assert clean_counts(overrides.at_round(BEFORE)) == clean_counts(plain.at_round(BEFORE))
    attacks = arrivals(overrides, ATTACK), arrivals(plain, ATTACK)
    assert [attacks[0][part] == attacks[1][part] for part in sorted(attacks[0])] == [False, True, True]


def clean_counts(record: RoundRecord) -> list[Any]:
    assert record.evaluation is not None
    return [client.counts[curve] for client in record.evaluation for curve in ("meta_testing", "main_task")]


def test_a_custom_attention_is_trained_and_kept_by_each_client(finished: Run) -> None:
    folder = finished(defense="federation", attention="examples.custom_attention:Mahalanobis")
    for partition_id in (1, 2, 3):
        kept = load_checkpoint(folder / "clients" / f"client-{partition_id}.safetensors").arrays
        assert {name.partition("/")[2] for name in kept} == {"projection", "log_temperature"}
        first, last = kept["1/projection"], kept[f"{max(name.partition('/')[0] for name in kept)}/projection"]
        assert not np.array_equal(first, last)


def test_a_custom_defense_changes_what_clients_answer_and_not_what_they_send(finished: Run) -> None:
    overrides = {"defense": "examples.custom_defense:ClassMeans", "defense_options": '{"steps": 2}'}
    defended = read_results(finished(**overrides, step_curves="class-means", local_curve_steps="0 2"))
    plain = read_results(finished())
    for server_round in (BEFORE, ATTACK):
        assert arrivals(defended, server_round) == arrivals(plain, server_round)
    assert clean_counts(defended.at_round(BEFORE)) != clean_counts(plain.at_round(BEFORE))
    for client in defended.at_round(ATTACK).evaluation or ():
        assert client.step_curves["class_means"][2] == client.counts


def test_a_custom_dataset_gives_classes_and_images(finished: Run) -> None:
    results = read_results(finished(dataset="examples.custom_dataset:load_shapes"))
    assert results.run["dataset"]["name"] == "examples.custom_dataset:load_shapes"
    assert results.run["dataset"]["shape"] == [96, 20, 1, 16, 16]
    assert results.run["split"]["target_class"].count("-") == 3


def test_a_custom_embedding_is_exchanged(finished: Run) -> None:
    model = load_checkpoint(finished(embedding="examples.custom_embedding:SmallResNet") / MODEL_FILE_NAME).arrays
    assert model["embedding.blocks.2.shortcut.weight"].shape == (32, 16, 3, 3)
    assert model["head.weight"].shape == (5, 32)


def test_a_custom_arrival_model_decides_who_arrives_first(finished: Run) -> None:
    results = read_results(finished(arrival_model="examples.custom_arrival_model:Unreliable"))
    model = Unreliable(seed=0, median_seconds=1.0, sigma=0.5, first=frozenset({0}))
    for record in results.rounds:
        for arrival in record.arrivals:
            expected = model.latency_seconds(record.server_round, arrival.partition_id)
            assert arrival.latency_seconds == pytest.approx(expected)


def test_the_command_of_the_custom_server_has_valid_settings() -> None:
    (settings,) = re.findall(r'--run-config "([^"]+)"', custom_server.__doc__ or "")
    told = dict(parse_override(override) for override in settings.split())
    assert RunConfig.parse(merge_settings(read_defaults(APP_DIR), told)).num_server_rounds == 3


def test_a_strategy_is_swapped_in_code_in_a_few_lines(tmp_path: Path) -> None:
    overrides = SMALL | {
        "results-dir": str(tmp_path),
        "cache-dir": str(tmp_path),
        "num-server-rounds": 2,
        "attack-round": 0,
    }
    settings = merge_settings(read_defaults(APP_DIR), overrides)
    grid = NotingGrid(Nodes(4, 7, settings))
    custom_server.main(grid, Context(7, 1, {}, RecordDict(), settings))
    assert {name.partition(".")[0] for name in load_checkpoint(tmp_path / "median.safetensors").arrays} == {
        "embedding",
        "head",
    }
    assert sorted(grid.trained) == [(partition_id, number) for partition_id in range(4) for number in (1, 2)]


@pytest.mark.integration
@pytest.mark.long
def test_all_of_them_are_found_by_server_and_actors_in_one_real_run(tmp_path: Path) -> None:
    overrides = {
        "strategy": "examples.custom_strategy:MedianNormClipping",
        "client": "examples.custom_client:NoisyClient",
        "adversary": "examples.custom_adversary:QuietAdversary",
        "attack": "examples.custom_attack:FewWeights",
        "attack-options": '{"share": 0.5}',
        "backdoor-key": "examples.custom_key:waves",
        "poisoning": "examples.custom_poisoning:blend_queries",
        "dataset": "examples.custom_dataset:load_shapes",
        "embedding": "examples.custom_embedding:SmallResNet",
        "arrival-model": "examples.custom_arrival_model:Unreliable",
        "attention": "examples.custom_attention:Mahalanobis",
        "step-curves": "matching",
        "local-curve-steps": "0 1",
    }
    command = [sys.executable, "-m", "experiments", "run", "quickstart", "--quiet", "--results-dir", str(tmp_path)]
    command += [part for key, value in (SMALL | overrides).items() for part in ("-c", f"{key}={value}")]
    process = subprocess.run([*command, "--actors", "2"], cwd=APP_DIR, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    results = read_results(tmp_path)
    assert results.run["dataset"]["name"] == overrides["dataset"]
    attack = arrivals(results, ATTACK)
    assert attack.pop(0).update_norm == pytest.approx(BOUND, rel=1e-5)
    assert all("norm-before-clipping" in arrival.metrics for arrival in attack.values())
    assert "embedding.blocks.2.shortcut.weight" in load_checkpoint(tmp_path / MODEL_FILE_NAME).arrays
