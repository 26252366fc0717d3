"""A job in its process: it needs the results root, and returns why it failed."""

from pathlib import Path

import pytest

from experiments.runner.pool import run_marked
from fedmeta_flwr.records.failure import FILE_NAME, early_failure_recorded
from strategies.errors import StrategyError


def test_a_machine_that_does_not_see_the_results_root_says_so(tmp_path: Path) -> None:
    reason = run_marked({"results-dir": str(tmp_path / "run")}, str(tmp_path / "root" / ".sweep-1"))
    assert reason is not None
    assert reason.startswith("results-dir: expected a folder that all machines of the Ray cluster share, found that ")
    assert reason.endswith(f" does not see {tmp_path / 'root'}")
    assert not (tmp_path / "run").exists()


def test_a_failed_job_returns_its_reason_and_leaves_no_file_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: dict[str, str], run_id: int) -> None:
        with early_failure_recorded(Path(settings["results-dir"]), run_id):
            raise StrategyError("expected 3 updates, found 2")

    monkeypatch.setattr("experiments.engines.inline.run_inline", fail)
    mark = tmp_path / ".sweep-1"
    mark.touch()
    assert run_marked({"results-dir": str(tmp_path / "run")}, str(mark)) == "expected 3 updates, found 2"
    assert not (tmp_path / "run" / FILE_NAME).exists()
