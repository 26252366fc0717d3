from pathlib import Path

import pytest

from experiments.run import failure_reason, new_results_dir
from experiments.superlink import RunStatus

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
    log = TRACE.format(earlier="", raised="fedmeta_flwr.datasets.store.DatasetError: expected an archive,\nfound none")
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
