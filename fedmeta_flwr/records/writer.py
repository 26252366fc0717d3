"""Writes a run's results line by line, each to the disk before the next, in a folder that no other run uses."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from fedmeta_flwr.records.atomic_file import write_whole
from fedmeta_flwr.records.results import (
    FILE_NAME,
    FORMAT,
    TIMES_FILE_NAME,
    ResultsError,
    RoundRecord,
    complete_lines,
    parse_line,
)

LOCK_FILE_NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a results folder against other runs; the folder is created if it is missing.

    The lock ends with the process, even if the process is killed. The empty lock file remains.

    Raises
    ------
    ResultsError
        If another process holds the lock, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK_FILE_NAME, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ResultsError(
            f"results-dir: expected a folder that no other run uses, found one in use: {folder}"
        ) from error
    except OSError as error:
        raise ResultsError(f"results-dir: cannot write {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


class ResultsWriter:
    """Appends the records of one run to its result file, and its times to a separate file.

    Parameters
    ----------
    results_dir : Path
        The run's folder; created if it is missing. An existing result file is never overwritten.
    after_round : int or None
        For a run that resumes: the last round in the result file to keep. None for a new run.

    Attributes
    ----------
    earlier_seconds : float
        Wall-clock time of the rounds that are kept.

    Raises
    ------
    ResultsError
        If a new run finds a result file, if a run that resumes does not find this round in it, or if the folder cannot
        be written.
    """

    def __init__(self, results_dir: Path, after_round: int | None = None) -> None:
        self.path = results_dir / FILE_NAME
        self._times_path = results_dir / TIMES_FILE_NAME
        self.earlier_seconds = 0.0
        if after_round is None:
            self._begin(results_dir)
        else:
            self._resume(after_round)
        with _writable(self.path):
            self._file = self.path.open("ab", buffering=0)
            self._times = self._times_path.open("ab", buffering=0)

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write the first record."""
        self._append(self._file, {"kind": "run", "format": FORMAT, **record})

    def write_round(self, record: RoundRecord) -> None:
        """Write the record of a finished round."""
        self._append(self._times, {"kind": "round", "server_round": record.server_round, "seconds": record.seconds})
        self._append(self._file, {"kind": "round", **record.to_json()})

    def write_end(self, status: str, seconds: float, model_digest: str | None = None) -> None:
        """Write the last record; two runs with the same digest have bit-identical final models."""
        self._append(self._times, {"kind": "end", "seconds": seconds})
        self._append(self._file, {"kind": "end", "status": status, "model_digest": model_digest})

    def _begin(self, results_dir: Path) -> None:
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            self.path.open("x").close()
        except FileExistsError as error:
            raise ResultsError(f"results-dir: expected a folder without {FILE_NAME}, found {self.path}") from error
        except OSError as error:
            raise ResultsError(f"results-dir: cannot write {self.path}: {error.strerror}") from error

    def _resume(self, after_round: int) -> None:
        with _writable(self.path):
            rounds = [record for record in _cut(self.path, after_round) if record["kind"] == "round"]
            times = _cut(self._times_path, after_round)
        if not rounds or rounds[-1]["server_round"] != after_round:
            raise ResultsError(f"{self.path}: expected the results of round {after_round}, to resume from, found none")
        self.earlier_seconds = sum(record["seconds"] for record in times)

    def _append(self, file: FileIO, record: Mapping[str, Any]) -> None:
        """Write a line completely or not at all."""
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        with _writable(self.path):
            size = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # the first error is the one to report
                    file.truncate(size)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._times.close()


def remove_results(results_dir: Path) -> None:
    """Remove the result file and the file of times of a run that starts anew."""
    with _writable(results_dir):
        for name in (FILE_NAME, TIMES_FILE_NAME):
            (results_dir / name).unlink(missing_ok=True)


def _cut(file: Path, after_round: int) -> list[dict[str, Any]]:
    """Keep and return only the complete records up to a round; the file is replaced in one step."""
    lines = complete_lines(file) if file.exists() else []
    records = [parse_line(file, number, line) for number, line in enumerate(lines, start=1)]
    kept = [
        (line, record)
        for line, record in zip(lines, records, strict=True)
        if record["kind"] == "run" or (record["kind"] == "round" and record["server_round"] <= after_round)
    ]
    write_whole(file, "".join(f"{line}\n" for line, _ in kept))
    return [record for _, record in kept]


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(f"results-dir: cannot write {path}: {error.strerror}") from error
