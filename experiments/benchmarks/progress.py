"""How far a benchmark has come, told on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.benchmarks.race import Tell, Turn
from experiments.runner.activity import clock

_PLAIN_SECONDS = 10.0


@contextmanager
def show_turns(console: Console, *, quiet: bool = False) -> Iterator[Tell]:
    """Follow a benchmark: a live display on a terminal, plain lines elsewhere, nothing when quiet."""
    began = time.monotonic()
    if quiet:
        yield lambda turn: None
    elif console.is_terminal:
        turns = [Turn("starting", 0, 1)]
        with Live(
            console=console,
            get_renderable=lambda: _display(turns[-1], time.monotonic() - began),
            refresh_per_second=4,
            transient=True,
        ):
            yield turns.append
    else:
        yield _PlainTurns(console, began)


class _PlainTurns:
    """Print a line for every case, and for its turns not more than one in ten seconds."""

    def __init__(self, console: Console, began: float) -> None:
        self._console = console
        self._began = began
        self._case = ""
        self._printed = began

    def __call__(self, turn: Turn) -> None:
        now = time.monotonic()
        if turn.case != self._case or now - self._printed >= _PLAIN_SECONDS:
            self._case, self._printed = turn.case, now
            line = f"{turn.case} | {_count(turn)} | {clock(now - self._began)} elapsed"
            self._console.print(line, soft_wrap=True, markup=False)


def _display(turn: Turn, elapsed_seconds: float) -> Table:
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=turn.turns, completed=turn.number, width=30)
    line.add_row(Text(turn.case, style="bold"), bar, Text(_count(turn)), Text(f"{clock(elapsed_seconds)} elapsed"))
    return line


def _count(turn: Turn) -> str:
    return f"turn {turn.number}/{turn.turns}"
