"""The benchmarks run, at their smallest; what they measure is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.round import NOOP_APP, replay
from experiments.benchmarks.scale import many_clients
from experiments.benchmarks.timed_run import timed_run
from experiments.runner.simulation import SimulationSize
from experiments.settings import APP_DIR
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import Arrival
from fedmeta_flwr.records.results import RoundRecord

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_a_benchmark_shows_a_table_and_keeps_its_numbers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments", "bench", "evaluate", "--repetitions", "1"]
    arguments = ["--results-dir", str(tmp_path / "numbers")]
    process = subprocess.run([*command, *arguments], cwd=APP_DIR, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "bare loop" in process.stdout
    assert process.stderr.count("| turn 0/1 |") == 2  # a line when each of the two cases begins
    result = json.loads((tmp_path / "numbers" / "bench-evaluate.json").read_text(encoding="utf-8"))
    assert {"git_revision", "machine", "versions", "repetitions", "seconds"} <= set(result)
    assert [row["contender"] for row in result["rows"]] == ["this project", "bare loop"] * 2
    for row in result["rows"]:
        assert len(row["seconds"]) == 1
        assert row["per_second"] > 0


def test_a_run_of_clients_that_do_nothing_is_timed_and_its_memory_seen(tmp_path: Path) -> None:
    settings = {"results-dir": str(tmp_path / "run"), "num-clients": 40, "quorum": 30, "num-server-rounds": 2}
    run = timed_run(NOOP_APP, settings, SimulationSize(nodes=40, actors=2))
    assert [len(record.arrivals) for record in run.results.rounds] == [30, 30]
    assert [{a.update_norm for a in record.arrivals} for record in run.results.rounds] == [{0.0}, {0.0}]
    assert run.startup_seconds > 0
    assert min(run.main_mebibytes, run.actor_mebibytes) > 50


def test_a_pool_does_the_same_work_again(tmp_path: Path) -> None:
    config = many_clients(4, 2, tmp_path)
    records = [
        RoundRecord(
            number, "benign", [Arrival(partition, number, 1.0, 1.0) for partition in (3, 1, 2)], [Drop(0, reason)]
        )
        for number, reason in ((1, DropReason.STRAGGLER), (2, DropReason.BUSY))
    ]
    rounds, work = replay(config, records, 2)
    assert (len(rounds), len(work)) == (2, 6)
    assert sum(work) < 2 * sum(rounds)
