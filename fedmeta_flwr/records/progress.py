"""What a run is doing now: a small file in its folder, which exists only while the run is active.

The server knows from its messages which clients were asked and which have answered. It notifies an `Observer`, and a
thread writes the file. Errors in writing do not affect the run.
"""

import json
import threading
import time
from collections.abc import Collection, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from fedmeta_flwr.records.atomic_file import remove_unfinished, write_whole

FILE_NAME = "progress.json"
_WRITE_SECONDS = 0.5
_LONGEST_WRITE_SECONDS = 2.0

Stage = Literal["preparing", "registering", "training", "aggregating", "evaluating", "saving", "ending"]
"""What a run is doing.

Preparing: before the first message. Registering: waiting for the clients' nodes. Training, evaluating: waiting for
clients' answers. Saving: writing the results of the round, and a checkpoint if one is due. Ending: waiting for late
answers.
"""
_WAITING_FOR_LATE = ("saving", "ending")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a run is doing.

    Attributes
    ----------
    stage : Stage
        The stage of the run.
    server_round : int
        The current round, from 1; 0 before the first.
    clients : tuple of int
        Partitions whose answers the stage waits for; empty if it waits for none.
    asked, answered : tuple of int
        Those clients that were asked, and those that have answered, in this order of time; an answer may be an
        abstention. While registering, these are ids of nodes, because their partitions are not known yet.
    nodes : int
        Number of nodes that have registered.
    stage_began, round_began : float
        Seconds since the epoch; the latter is 0 before the first round.
    """

    stage: Stage = "preparing"
    server_round: int = 0
    clients: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    answered: tuple[int, ...] = ()
    nodes: int = 0
    stage_began: float = 0.0
    round_began: float = 0.0


class Observer:
    """Receives notifications about what a run is doing; this base class ignores them."""

    def begin(self, stage: Stage, server_round: int = 0, clients: Collection[int] = ()) -> None:
        """Receive that a stage begins, and which clients must answer."""

    def registered(self, nodes: int) -> None:
        """Receive the number of nodes that have registered."""

    def asked(self, client: int) -> None:
        """Receive that a message was sent to a client: its partition, or the id of its node while registering."""

    def answered(self, client: int) -> None:
        """Receive that a client has answered; the client is as in `asked`."""


class ProgressFile(Observer):
    """Keeps a run's progress file up to date, at most twice a second, and removes it at the end.

    Parameters
    ----------
    folder : Path
        The run's folder. If the file cannot be written, the run continues without it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stage = Progress(stage_began=time.time())
        self._clients: Set[int] = frozenset()
        self._asked: dict[int, None] = {}  # in the order of time, and found at once
        self._answered: dict[int, None] = {}
        self._has_changed = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="progress", daemon=True)

    def begin(self, stage: Stage, server_round: int = 0, clients: Collection[int] = ()) -> None:
        """Record a stage."""
        now, before = time.time(), self._stage
        with self._lock:
            self._stage = Progress(
                stage=stage,
                server_round=server_round,
                clients=tuple(clients),
                nodes=before.nodes,
                stage_began=now,
                round_began=before.round_began if server_round == before.server_round else now,
            )
            self._clients = frozenset(clients)
            self._asked = dict.fromkeys(clients) if stage in _WAITING_FOR_LATE else {}
            self._answered = {}
            self._has_changed = True

    def registered(self, nodes: int) -> None:
        """Record the number of nodes."""
        with self._lock:
            self._stage = replace(self._stage, nodes=nodes)
            self._has_changed = True

    def asked(self, client: int) -> None:
        """Record a client that was asked in this stage."""
        if client in self._clients or self._stage.stage == "registering":
            with self._lock:
                self._asked[client] = None
                self._has_changed = True

    def answered(self, client: int) -> None:
        """Record an answer, unless it is to a request of an earlier stage, which this stage does not wait for."""
        if client in self._asked:
            with self._lock:
                self._answered[client] = None
                self._has_changed = True

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # no more threads can be started
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_WRITE_SECONDS)
        remove_progress(self._folder)

    def _keep_writing(self) -> None:
        while True:
            if (progress := self._news()) is not None:
                try:
                    self._write(progress)
                except OSError:
                    self._has_changed = True  # to be tried again
            if self._ended.wait(_WRITE_SECONDS):
                return

    def _news(self) -> Progress | None:
        with self._lock:
            has_changed, self._has_changed = self._has_changed, False
            if not has_changed:
                return None
            return replace(self._stage, asked=tuple(self._asked), answered=tuple(self._answered))

    def _write(self, progress: Progress) -> None:
        write_whole(self._folder / FILE_NAME, json.dumps(vars(progress)) + "\n", is_durable=False)


def remove_progress(folder: Path) -> None:
    """Remove the files of a run that was killed, if there are any."""
    remove_unfinished(folder / FILE_NAME)
    with suppress(OSError):
        (folder / FILE_NAME).unlink()


def read_progress(folder: Path) -> Progress | None:
    """Return what a run is doing; None if its file is missing or cannot be parsed."""
    with suppress(OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        return _parsed(json.loads((folder / FILE_NAME).read_text(encoding="utf-8")))
    return None


def _parsed(found: dict[str, Any]) -> Progress:
    if found["stage"] not in get_args(Stage):
        raise ValueError(f"expected one of {', '.join(get_args(Stage))}, found {found['stage']!r}")
    clients = {name: tuple(map(int, found[name])) for name in ("clients", "asked", "answered")}
    whole = {name: int(found[name]) for name in ("server_round", "nodes")}
    times = {name: float(found[name]) for name in ("stage_began", "round_began")}
    return Progress(stage=found["stage"], **clients, **whole, **times)  # type: ignore[arg-type]
