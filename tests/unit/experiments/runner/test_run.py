import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.runner.run import RunFailedError, failure_reason, new_results_dir, run_on
from experiments.runner.simulation import SimulationSize, simulation_environment
from experiments.runner.superlink import LocalSuperLink, RunStatus
from experiments.settings import APP_DIR
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.progress import FILE_NAME as PROGRESS
from fedmeta_flwr.records.progress import Progress
from fedmeta_flwr.records.results import RoundRecord
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints
from fedmeta_flwr.records.writer import ResultsWriter, remove_results

TRACE = """\x1b[92mINFO \x1b[0m:      Starting Flower Simulation
Traceback (most recent call last):
  File "first.py", line 1, in first
    nonsense()
{earlier}Traceback (most recent call last):
  File "app.py", line 13, in main
    work()
{raised}
\x1b[91mERROR \x1b[0m:     Exit Code: 700

An unhandled exception occurred when running the simulation.
"""
PREFIX = "Simulation failed with exception: "


def test_an_error_made_for_the_user_is_told_without_its_traceback() -> None:
    log = TRACE.format(earlier="", raised="fedmeta_flwr.data.store.DatasetError: expected an archive,\nfound none")
    status = RunStatus("finished:failed", f"{PREFIX}expected an archive,\nfound none")
    assert failure_reason(status, log) == "finished:failed: expected an archive,\nfound none"


def test_a_defect_is_told_with_the_last_lines_of_its_traceback_alone() -> None:
    log = TRACE.format(earlier="KeyError: 1\n\n", raised="ZeroDivisionError: division by zero")
    reason = failure_reason(RunStatus("finished:failed", f"{PREFIX}division by zero"), log)
    assert reason.splitlines() == [
        "finished:failed: division by zero",
        '  File "app.py", line 13, in main',
        "    work()",
        "ZeroDivisionError: division by zero",
    ]


def test_of_a_defect_that_another_caused_the_first_is_told() -> None:
    cause = (
        "Exception: the raylet did not start\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
    )
    log = TRACE.format(earlier=cause, raised="RuntimeError: Ending simulation.")
    reason = failure_reason(RunStatus("finished:failed", f"{PREFIX}Ending simulation."), log)
    assert reason.splitlines() == [
        "finished:failed: Ending simulation.",
        '  File "first.py", line 1, in first',
        "    nonsense()",
        "Exception: the raylet did not start",
    ]


def test_without_a_traceback_the_end_of_the_log_is_told() -> None:
    reason = failure_reason(RunStatus("finished:failed", "No heartbeat"), "INFO: one\nINFO: two\n")
    assert reason == "finished:failed: No heartbeat\nINFO: one\nINFO: two"


def test_a_new_results_folder_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_results_dir("quickstart", tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: path.name == first.name)
    assert new_results_dir("quickstart", tmp_path) != first


class WithoutRay(LocalSuperLink):
    """A SuperLink whose first simulations find no Ray: not to be had of a real one at will."""

    def __init__(self, failures: int, where: str = "    ray.init(") -> None:
        super().__init__()
        self.failures = failures
        self.where = where
        self.resumed: list[bool] = []

    def submit(self, app_dir: Path, settings: dict[str, Any], size: SimulationSize) -> str:  # type: ignore[override]
        folder = Path(settings["results-dir"])
        self.resumed.append(settings["resume"])
        if settings["resume"]:
            remove_results(folder)
        with ResultsWriter(folder) as writer:
            writer.write_run({"config": settings})
            writer.write_end("completed" if len(self.resumed) > self.failures else "failed: no clients", 1.0)
        return str(len(self.resumed))

    def processes(self) -> set[int]:
        return set()

    def status(self, run_id: str) -> RunStatus:
        is_failed = int(run_id) <= self.failures
        return RunStatus("finished:failed", PREFIX) if is_failed else RunStatus("finished:completed", "")

    def stop(self, run_id: str) -> None:
        pass

    def log(self, run_id: str) -> str:
        cause = f"{self.where}\nException: The current node timed out during startup.\n"
        return TRACE.format(earlier="", raised=cause)


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
    assert shown == ["handing in the app", "ending the simulation"]
    assert not (folder / PROGRESS).exists()


def test_a_run_that_goes_on_shows_from_the_start_after_which_round(
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
    assert shown[0] == (5, True, "handing in the app")


def test_a_run_that_fails_for_another_reason_is_handed_in_once(
    tmp_path: Path, run_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.run._POLL_SECONDS", 0.0)
    superlink, config = WithoutRay(1, "    work("), run_config(results_dir=str(tmp_path / "run"))
    with pytest.raises(RunFailedError):
        run_on(superlink, config, SimulationSize(4, 1), app_dir=tmp_path, show=lambda *_: None)
    assert superlink.resumed == [False]


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
