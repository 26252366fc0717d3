"""The progress of a benchmark on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.benchmarks.race import Tell, Turn
from experiments.runner.activity import clock

_PLAIN_SECONDS = 10.0
_COUNT = "turn {task.completed}/{task.total}"


@contextmanager
def show_turns(console: Console, *, quiet: bool = False) -> Iterator[Tell]:
    """Follow a benchmark: a live display on a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        yield lambda turn: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}", style="bold", markup=False), BarColumn(30), TextColumn(_COUNT))
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
            task = progress.add_task("starting", total=1)
            yield lambda turn: progress.update(task, description=turn.case, completed=turn.number, total=turn.turns)
    else:
        yield _PlainTurns(console, time.monotonic())


class _PlainTurns:
    """Print a line for every case, and at most one line in ten seconds for its turns."""

    def __init__(self, console: Console, began: float) -> None:
        self._console = console
        self._began = began
        self._case = ""
        self._printed = began

    def __call__(self, turn: Turn) -> None:
        now = time.monotonic()
        if turn.case != self._case or now - self._printed >= _PLAIN_SECONDS:
            self._case, self._printed = turn.case, now
            line = f"{turn.case} | turn {turn.number}/{turn.turns} | {clock(now - self._began)} elapsed"
            self._console.print(line, soft_wrap=True, markup=False)
