"""The app in a real `flwr run` on Ray, small enough for a test."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.in_process_app import run_in_process, without_times
from typer.testing import CliRunner

from experiments.cli.commands import app
from experiments.runner.processes import Descendants
from experiments.settings import APP_DIR, CONFIGS_DIR, merge_settings, read_defaults, read_settings
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    MODEL_FILE_NAME,
    load_checkpoint,
)
from fedmeta_flwr.records.results import FILE_NAME, RunResults, read_results

pytestmark = pytest.mark.integration

SMALL = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "pretrain-rounds": 2,
    "pretrain-outer-steps": 2,
    "attack-round": 3,
    "num-server-rounds": 4,
    "poison-outer-steps": 5,
    "pretrain-evaluate-every": 1,
    "evaluate-every": 1,
    "evaluate-episodes": 2,
}


def run(results_dir: Path, *arguments: str, **settings: str | int | float) -> "subprocess.CompletedProcess[str]":
    overrides = [f"{key.replace('_', '-')}={value}" for key, value in {**SMALL, **settings}.items()]
    command = [sys.executable, "-m", "experiments", "run", "quickstart", "--quiet", "--results-dir", str(results_dir)]
    command += [part for override in overrides for part in ("-c", override)]
    environment = os.environ | {"PYTHONHASHSEED": another_hash_seed()}
    return subprocess.run(
        [*command, *arguments], cwd=APP_DIR, env=environment, capture_output=True, text=True, check=False
    )


def another_hash_seed() -> str:
    """Return a seed that this process does not have: its sets and theirs are in another order."""
    seed = os.environ.get("PYTHONHASHSEED", "random")
    return str(int(seed) + 1) if seed.isdecimal() else "0"


def run_beside(results_dir: Path, **settings: str | int | float) -> RunResults:
    """Run the same configuration without Flower's runtime and Ray."""
    overrides = read_settings(CONFIGS_DIR / "quickstart.toml") | SMALL | settings | {"results-dir": str(results_dir)}
    run_in_process(merge_settings(read_defaults(APP_DIR), overrides))
    return read_results(results_dir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    folder = tmp_path_factory.mktemp("main") / "run"
    process = run(folder, "--actors", "2")
    assert process.returncode == 0, process.stderr
    for name in (FILE_NAME, "persistence.png", "persistence.svg"):
        assert (folder / name).stat().st_size > 0
    for name, server_round in ((BEFORE_ATTACK_FILE_NAME, "2"), (AFTER_ATTACK_FILE_NAME, "3"), (MODEL_FILE_NAME, "4")):
        assert load_checkpoint(folder / name).metadata["server-round"] == server_round
    return read_results(folder)


def test_every_round_aggregates_the_quorum_and_the_adversary_takes_part_once(finished: RunResults) -> None:
    assert [record.phase for record in finished.rounds] == ["pretrain", "pretrain", "attack", "benign"]
    for record in finished.rounds:
        arrived = [arrival.partition_id for arrival in record.arrivals]
        assert len(set(arrived)) == 3
        assert (0 in arrived) == (record.phase == "attack")
    attack = finished.at_round(3)
    assert attack.arrivals[0].partition_id == 0
    norms = {arrival.partition_id: arrival.update_norm for arrival in attack.arrivals}
    assert norms[0] > max(norm for partition_id, norm in norms.items() if partition_id != 0)
    assert [(drop.partition_id, drop.reason) for drop in finished.at_round(1).dropped] == [(0, "abstained")]


def test_evaluation_counts_come_from_the_benign_clients(finished: RunResults) -> None:
    for record in finished.rounds:
        assert record.evaluation is not None
        assert [client.partition_id for client in record.evaluation] == [1, 2, 3]
        for client in record.evaluation:
            assert client.counts["meta_testing"].trials == [25, 25]
            assert client.counts["attack_training"].trials == [20, 20]


def test_the_first_record_names_all_that_the_run_depends_on(finished: RunResults) -> None:
    assert {"config", "versions", "git_revision", "dataset", "split", "machine"} <= set(finished.run)
    assert len(finished.run["dataset"]["fingerprint"]) == 64
    assert finished.run["config"]["batch-norm"] == "support"


def test_the_same_configuration_gives_the_same_records_without_ray_and_with_another_hash_seed(
    finished: RunResults, tmp_path: Path
) -> None:
    assert without_times(run_beside(tmp_path / "again")) == without_times(finished)


@pytest.mark.long
def test_the_same_configuration_gives_the_same_bits_on_a_cluster_of_two_nodes(
    finished: RunResults, tmp_path: Path, two_nodes: str
) -> None:
    process = run(tmp_path / "again", "--ray-address", two_nodes)
    assert process.returncode == 0, process.stderr
    assert without_times(read_results(tmp_path / "again")) == without_times(finished)


CLUSTER = """
import sys

from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Ray cluster of two nodes of one core each, which are two raylets on this machine; its address."""
    # Bind only to 127.0.0.1, this cluster and the run on it; the cluster's actors find the project like this process.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    temporary = tempfile.mkdtemp(prefix="t", dir="/tmp")  # short: Ray's sockets lie below it
    monkeypatch.setenv("RAY_TMPDIR", temporary)
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    descendants = Descendants(process.pid)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        descendants.look()
        monkeypatch.delenv("RAY_TMPDIR")
        yield address
    finally:
        descendants.end(10.0)
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def test_evaluation_does_not_change_what_is_trained(finished: RunResults, tmp_path: Path) -> None:
    blind = run_beside(tmp_path / "blind", **{"evaluate-every": 0})
    assert not any(record.evaluation for record in blind.rounds)
    assert without_times(blind)[-1] == without_times(finished)[-1]


def test_bad_input_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    wrong = [
        (["quorum=5"], "quorum: expected at most num-clients"),
        (["strategy=bulyan", 'strategy-options={"num_malicious_nodes": 1}'], "7"),
    ]
    for number, (settings, message) in enumerate(wrong):
        folder = tmp_path / str(number)
        overrides = [part for setting in settings for part in ("-c", setting)]
        result = CliRunner().invoke(app, ["run", "quickstart", "--results-dir", str(folder), *overrides])
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert not folder.exists()


@pytest.mark.long
def test_settings_reach_the_clients_as_they_were_given(tmp_path: Path) -> None:
    settings: dict[str, str | int | float] = {"algorithm": "reptile", "strategy": "fedmedian", "num-server-rounds": 3}
    process = run(tmp_path / "run", "--actors", "1", **settings)
    assert process.returncode == 0, process.stderr
    results = read_results(tmp_path / "run")
    assert {key: results.run["config"][key] for key in settings} == settings
    assert without_times(results) == without_times(run_beside(tmp_path / "beside", **settings))
