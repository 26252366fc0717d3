"""Why a run failed: a small file in its folder with the server's exception, even if there is no result file yet.

A failure outside of the ServerApp, such as of Ray, or a killed process leaves no such file; nor does a run that fails
before it may write into a folder with results.
"""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmeta_flwr.records.atomic_file import write_whole
from fedmeta_flwr.records.results import FILE_NAME as RESULTS_FILE_NAME

FILE_NAME = "failure.json"
_PROJECT = ("fedmeta_flwr", "clients", "strategies", "experiments")
_TRACEBACK_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The exception that ended a run.

    Attributes
    ----------
    run_id : int
        Flower's id of the run, so that the file of another run is not mistaken for this one's.
    error, message : str
        The exception's class with its module, and its text.
    traceback : tuple of str
        The last lines of the traceback of its first cause; none for an exception of this project, whose text suffices.
    """

    run_id: int
    error: str
    message: str
    traceback: tuple[str, ...] = ()


@contextmanager
def failure_recorded(folder: Path, run_id: int) -> Iterator[None]:
    """If the block raises an exception, write it into a run's folder; an error in writing is ignored."""
    try:
        yield
    except Exception as error:
        _write(folder, _failure(error, run_id))
        raise


@contextmanager
def early_failure_recorded(folder: Path, run_id: int) -> Iterator[None]:
    """As `failure_recorded`, before the run has its result file: a folder that has one is of another run, and kept."""
    try:
        yield
    except Exception as error:
        if not (folder / RESULTS_FILE_NAME).exists():
            _write(folder, _failure(error, run_id))
        raise


def is_of_project(error: BaseException) -> bool:
    """Return whether an exception's class is of this project; the texts of these are written for users."""
    return type(error).__module__.partition(".")[0] in _PROJECT


def read_failure(folder: Path, run_id: int) -> Failure | None:
    """Return why a run failed; None if there is no file of this run."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        found: Any = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        if found["run_id"] == run_id:
            return Failure(**{**found, "traceback": tuple(map(str, found["traceback"]))})
    return None


def remove_failure(folder: Path) -> None:
    """Remove the file, if there is one."""
    with suppress(OSError):
        (folder / FILE_NAME).unlink()


def _write(folder: Path, failure: Failure) -> None:
    with suppress(OSError, ValueError):  # ValueError for a name with a null character
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE_NAME, json.dumps(vars(failure), indent=1) + "\n")


def _failure(error: Exception, run_id: int) -> Failure:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    lines = () if is_of_project(error) else _last_lines(error)
    return Failure(run_id=run_id, error=name, message=str(error), traceback=lines)


def _last_lines(error: BaseException) -> tuple[str, ...]:
    while error.__cause__ is not None:
        error = error.__cause__
    parts = [*traceback.format_tb(error.__traceback__), *traceback.format_exception_only(error)]
    return tuple("".join(parts).splitlines()[-_TRACEBACK_LINES:])
