import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.runner.engine import RunStatus
from experiments.runner.outcome import RunFailedError, failure_reason
from experiments.runner.run import new_results_dir, run_on
from experiments.runner.simulation import SimulationSize, simulation_environment
from experiments.runner.superlink import LocalSuperLink
from experiments.settings import APP_DIR
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.failure import FILE_NAME as FAILURE_FILE
from fedmeta_flwr.records.failure import Failure
from fedmeta_flwr.records.progress import FILE_NAME as PROGRESS
from fedmeta_flwr.records.progress import Progress
from fedmeta_flwr.records.results import RoundRecord
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints
from fedmeta_flwr.records.writer import ResultsWriter, remove_results

LOG = """\x1b[92mINFO \x1b[0m:      Starting Flower Simulation
Traceback (most recent call last):
  File "start.py", line 13, in start
    ray.init()
Exception: The current node timed out during startup.
\x1b[91mERROR \x1b[0m:     Exit Code: 700
"""
PREFIX = "Simulation failed with exception: "
FAILURE = Failure(run_id=7, error="fedmeta_flwr.data.DatasetError", message="expected an archive,\nfound none")


def test_what_the_server_says_of_a_failure_is_shown_without_the_log() -> None:
    status = RunStatus("finished:failed", f"{PREFIX}something else")
    assert failure_reason(status, FAILURE, LOG) == "finished:failed: expected an archive,\nfound none"


def test_a_defect_is_shown_with_the_traceback_that_the_server_recorded() -> None:
    defect = Failure(run_id=7, error="builtins.KeyError", message="1", traceback=("    work()", "KeyError: 1"))
    reason = failure_reason(RunStatus("finished:failed", ""), defect, "")
    assert reason.splitlines() == ["finished:failed: 1", "    work()", "KeyError: 1"]


def test_if_the_server_says_nothing_the_end_of_the_log_is_shown_without_colours() -> None:
    reason = failure_reason(RunStatus("finished:failed", f"{PREFIX}No heartbeat"), None, LOG)
    first, *lines = reason.splitlines()
    assert first == "finished:failed: No heartbeat"
    assert (lines[0], lines[-1]) == ("INFO :      Starting Flower Simulation", "ERROR :     Exit Code: 700")


def test_a_new_results_folder_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_results_dir("quickstart", tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: path.name == first.name)
    assert new_results_dir("quickstart", tmp_path) != first


class WithoutRay(LocalSuperLink):
    """A SuperLink whose first simulations find no Ray, or end as a test wants: not to be had of a real one at will."""

    def __init__(self, failures: int, *, failure: Failure | None = None, rounds: int = 0, how: str = "failed") -> None:
        super().__init__()
        self.failures, self.failure, self.rounds, self.how = failures, failure, rounds, how
        self.resumed: list[bool] = []

    def submit(self, app_dir: Path, settings: Mapping[str, Any], size: SimulationSize) -> str:
        folder = Path(settings["results-dir"])
        self.resumed.append(settings["resume"])
        if settings["resume"]:
            remove_results(folder)
        with ResultsWriter(folder) as writer:
            writer.write_run({"config": settings})
            for number in range(1, self.rounds + 1):
                writer.write_round(RoundRecord(number, "pretrain"))
            writer.write_end("completed" if len(self.resumed) > self.failures else "failed: no clients", 1.0)
        if self.failure is not None:
            (folder / FAILURE_FILE).write_text(json.dumps(vars(self.failure)), encoding="utf-8")
        return str(len(self.resumed))

    def processes(self) -> set[int]:
        return set()

    def status(self, run_id: str) -> RunStatus:
        is_failed = int(run_id) <= self.failures
        return RunStatus(f"finished:{self.how}", PREFIX) if is_failed else RunStatus("finished:completed", "")

    def stop(self, run_id: str) -> None:
        pass

    def log(self, run_id: str) -> str:
        return LOG


@pytest.mark.parametrize(("failures", "starts"), [(0, 1), (2, 3), (3, 3)])
def test_a_run_whose_ray_did_not_start_is_handed_in_again_and_not_for_ever(
    failures: int, starts: int, tmp_path: Path, run_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    superlink, config = WithoutRay(failures), run_config(results_dir=str(tmp_path / "run"))

    def run() -> Any:
        return run_on(superlink, config, SimulationSize(4, 1), app_dir=tmp_path, show=lambda *_: None)

    if failures == starts:
        with pytest.raises(RunFailedError, match="timed out during startup"):
            run()
    else:
        assert run().end["status"] == "completed"
    assert superlink.resumed == [number > 0 for number in range(starts)]


def test_what_a_killed_run_left_of_its_progress_is_not_shown(
    tmp_path: Path, run_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    folder, shown = tmp_path / "run", []
    folder.mkdir()
    left = vars(Progress(stage="training", server_round=5))
    (folder / PROGRESS).write_text(json.dumps(left), encoding="utf-8")
    run_on(
        WithoutRay(0),
        run_config(results_dir=str(folder)),
        SimulationSize(4, 1),
        app_dir=tmp_path,
        show=lambda _, activity=None: shown.append(activity.text),
    )
    assert shown == ["submitting the app", "ending the simulation"]
    assert not (folder / PROGRESS).exists()


def test_a_resumed_run_shows_from_the_start_after_which_round(
    tmp_path: Path, run_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    folder, shown = tmp_path / "run", []
    config = run_config(results_dir=str(folder), resume=True)
    with ResultsWriter(folder) as writer:
        writer.write_run({"config": config.to_run_config()})
        for number in range(1, 8):
            writer.write_round(RoundRecord(number, "benign"))
        writer.write_end("failed", 1.0)
    RunCheckpoints(folder).save(5, {}, config)
    run_on(
        WithoutRay(0),
        config,
        SimulationSize(4, 1),
        app_dir=tmp_path,
        show=lambda results, activity=None: shown.append((len(results.rounds), results.end is None, activity.text)),
    )
    assert shown[0] == (5, True, "submitting the app")


@pytest.mark.parametrize(
    ("superlink", "reason"),
    [
        (WithoutRay(1, failure=replace(FAILURE, run_id=1)), "finished:failed: expected an archive"),
        (WithoutRay(1, rounds=1), "timed out during startup"),
        (WithoutRay(1, how="stopped"), "finished:stopped"),
    ],
    ids=["the server says why", "after a round", "stopped"],
)
def test_a_run_that_fails_in_another_way_is_handed_in_once(
    superlink: WithoutRay,
    reason: str,
    tmp_path: Path,
    run_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    config = run_config(results_dir=str(tmp_path / "run"))
    with pytest.raises(RunFailedError, match=reason):
        run_on(superlink, config, SimulationSize(4, 1), app_dir=tmp_path, show=lambda *_: None)
    assert superlink.resumed == [False]
    assert not (tmp_path / "run" / FAILURE_FILE).exists()


@pytest.mark.parametrize("error", [RunFailedError, KeyboardInterrupt])
def test_a_run_that_does_not_complete_leaves_no_progress(
    error: type[BaseException],
    tmp_path: Path,
    run_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "run" / PROGRESS

    class Killed(WithoutRay):
        def status(self, run_id: str) -> RunStatus:
            file.write_text(json.dumps(vars(Progress(stage="training", server_round=5))), encoding="utf-8")
            raise error

    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    config = run_config(results_dir=str(file.parent))
    with pytest.raises(error):
        run_on(Killed(0), config, SimulationSize(4, 1), app_dir=tmp_path, show=lambda *_: None)
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a program that is a shell script")
def test_a_simulation_that_flower_starts_again_and_again_is_ended_with_the_reason(
    tmp_path: Path, run_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "flwr-simulation"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    program.chmod(0o755)

    def environment(*arguments: Any) -> dict[str, str]:
        kept = simulation_environment(*arguments)
        return kept | {"PATH": f"{tmp_path}{os.pathsep}{kept['PATH']}"}

    monkeypatch.setattr("experiments.runner.superlink.simulation_environment", environment)
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 1.0)
    monkeypatch.setattr("experiments.runner.run._LONGEST_START_SECONDS", 3.0)
    config = run_config(results_dir=str(tmp_path / "run"))
    with LocalSuperLink() as superlink, pytest.raises(RunFailedError, match=r"starting: expected .* begin within 3 s"):
        run_on(superlink, config, SimulationSize(4, 1), app_dir=APP_DIR, show=lambda *_: None)
