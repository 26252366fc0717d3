"""What a run leaves that fails."""

import json
from pathlib import Path

import pytest

from fedmeta_flwr.records.failure import (
    FILE_NAME,
    Failure,
    early_failure_recorded,
    failure_recorded,
    read_failure,
    remove_failure,
)
from fedmeta_flwr.records.results import FILE_NAME as RESULTS_FILE_NAME
from fedmeta_flwr.records.results import ResultsError


def fail(folder: Path, error: Exception) -> Failure | None:
    with pytest.raises(type(error)), failure_recorded(folder, 7):
        raise error
    return read_failure(folder, 7)


def test_an_error_of_the_project_is_recorded_by_its_text_only(tmp_path: Path) -> None:
    found = fail(tmp_path / "new" / "run", ResultsError("expected a folder,\nfound none"))
    error = "fedmeta_flwr.records.results.ResultsError"
    assert found == Failure(run_id=7, error=error, message="expected a folder,\nfound none")


def test_a_defect_is_recorded_with_the_last_lines_of_its_traceback(tmp_path: Path) -> None:
    found = fail(tmp_path, ZeroDivisionError("division by zero"))
    assert found is not None
    assert (found.error, found.message) == ("builtins.ZeroDivisionError", "division by zero")
    assert found.traceback[-2:] == ("    raise error", "ZeroDivisionError: division by zero")


def test_of_a_defect_that_another_caused_the_first_is_recorded(tmp_path: Path) -> None:
    error = RuntimeError("the round ended")
    error.__cause__ = KeyError("weights")
    found = fail(tmp_path, error)
    assert found is not None
    assert (found.message, found.traceback[-1]) == ("the round ended", "KeyError: 'weights'")


def test_a_block_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    with failure_recorded(tmp_path, 7):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    assert fail(tmp_path / "run", ResultsError("no")) is None


def test_a_folder_whose_name_cannot_exist_hides_no_error(tmp_path: Path) -> None:
    for recorded in (failure_recorded, early_failure_recorded):
        with pytest.raises(ResultsError, match="no"), recorded(tmp_path / "a\0b", 7):
            raise ResultsError("no")


def test_an_early_failure_is_recorded_only_where_no_run_has_left_results(tmp_path: Path) -> None:
    def fail_early() -> None:
        with pytest.raises(ResultsError), early_failure_recorded(tmp_path, 7):
            raise ResultsError("no")

    (tmp_path / RESULTS_FILE_NAME).touch()
    fail_early()
    assert [path.name for path in tmp_path.iterdir()] == [RESULTS_FILE_NAME]
    (tmp_path / RESULTS_FILE_NAME).unlink()
    fail_early()
    assert read_failure(tmp_path, 7) == Failure(
        run_id=7, error="fedmeta_flwr.records.results.ResultsError", message="no"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"run_id": 7}', '{"run_id": 7, "traceback": 3}'])
def test_a_file_that_says_nothing_is_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    assert read_failure(tmp_path, 7) is None


def test_what_another_run_left_is_not_of_this_one_and_can_be_removed(tmp_path: Path) -> None:
    fail(tmp_path, ResultsError("no"))
    assert json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))["run_id"] == 7
    assert read_failure(tmp_path, 8) is None
    remove_failure(tmp_path)
    remove_failure(tmp_path)
    assert read_failure(tmp_path, 7) is None
