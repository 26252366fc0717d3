"""Why a run failed: a small file in its folder, in the words of the server, whether there is a result file or not yet.

What fails outside of the server's app, such as Ray or a process that is killed, leaves none.
"""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmeta_flwr.records.atomic_file import write_whole

FILE_NAME = "failure.json"
_PROJECT = ("fedmeta_flwr", "clients", "strategies", "experiments")
_TRACEBACK_LINES = 12


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What ended a run.

    Attributes
    ----------
    run_id : int
        Flower's, so that what another run left is not taken for this one's.
    error, message : str
        The exception's class with its module, and its text.
    traceback : tuple of str
        The last lines of its first cause's traceback; none for an exception of this project, whose text says it all.
    """

    run_id: int
    error: str
    message: str
    traceback: tuple[str, ...] = ()


@contextmanager
def failure_recorded(folder: Path, run_id: int) -> Iterator[None]:
    """Write down why a block raises, if it does, in a run's folder; where that cannot be written, nothing follows."""
    try:
        yield
    except Exception as error:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FILE_NAME, json.dumps(vars(_failure(error, run_id)), indent=1) + "\n")
        raise


def is_of_project(error: BaseException) -> bool:
    """Return whether an exception is one of this project's classes, whose text is worded for people."""
    return type(error).__module__.partition(".")[0] in _PROJECT


def read_failure(folder: Path, run_id: int) -> Failure | None:
    """Return why a run failed; None where it left no word of it."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        found: Any = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        if found["run_id"] == run_id:
            return Failure(**{**found, "traceback": tuple(map(str, found["traceback"]))})
    return None


def remove_failure(folder: Path) -> None:
    """Remove what a run has left, if anything."""
    with suppress(OSError):
        (folder / FILE_NAME).unlink()


def _failure(error: Exception, run_id: int) -> Failure:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    lines = () if is_of_project(error) else _last_lines(error)
    return Failure(run_id=run_id, error=name, message=str(error), traceback=lines)


def _last_lines(error: BaseException) -> tuple[str, ...]:
    while error.__cause__ is not None:
        error = error.__cause__
    parts = [*traceback.format_tb(error.__traceback__), *traceback.format_exception_only(error)]
    return tuple("".join(parts).splitlines()[-_TRACEBACK_LINES:])
