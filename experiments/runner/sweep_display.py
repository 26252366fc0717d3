"""The progress of jobs that run side by side, in one view on the terminal, or as lines in a log."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.runner.activity import clock
from experiments.runner.progress import Standing

_PLAIN_SECONDS = 10.0


@dataclass(frozen=True)
class SweepStanding:
    """The state of all jobs at one moment.

    Attributes
    ----------
    jobs, finished, failed : int
        Number of jobs, and of those that have completed or failed.
    running : mapping of str to Standing
        The state of each job that is going on, by its title.
    elapsed_seconds : float
        Since the start.
    remaining_seconds : float or None
        Estimate; None if there is none yet.
    """

    jobs: int
    finished: int
    failed: int
    running: Mapping[str, Standing]
    elapsed_seconds: float
    remaining_seconds: float | None

    @property
    def headline(self) -> str:
        """Return how many runs have ended, are going on and wait, and the times."""
        waiting = self.jobs - self.finished - self.failed - len(self.running)
        parts = [f"{self.finished} of {self.jobs} finished", f"{len(self.running)} running"]
        parts += [f"{waiting} waiting"] if waiting else []
        parts += [f"{self.failed} failed"] if self.failed else []
        left = "" if self.remaining_seconds is None else f", about {clock(self.remaining_seconds)} left"
        return f"{', '.join(parts)} | {clock(self.elapsed_seconds)} elapsed{left}"


class ShowSweep(Protocol):
    """Shows the progress of all jobs; called several times a second."""

    def __call__(self, sweep: SweepStanding) -> None:
        """Show the progress."""


@contextmanager
def show_sweep(console: Console, *, quiet: bool = False) -> Iterator[ShowSweep]:
    """Follow jobs: a live display on a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        yield lambda sweep: None
    elif console.is_terminal:
        display = _LiveSweep()
        with Live(console=console, refresh_per_second=4, transient=True, get_renderable=display.render):
            yield display
    else:
        yield PlainSweep(console)


class _LiveSweep:
    """A line about all jobs, and one for each that is running, redrawn continually."""

    def __init__(self) -> None:
        self._sweep: SweepStanding | None = None

    def __call__(self, sweep: SweepStanding) -> None:
        """Store the news for the next rendering."""
        self._sweep = sweep

    def render(self) -> Group:
        """Return the current display."""
        if self._sweep is None:
            return Group()
        table = Table.grid(padding=(0, 2))
        for title, one in self._sweep.running.items():
            bar = ProgressBar(total=one.num_rounds, completed=one.server_round, width=20)
            doing = Text(one.doing, no_wrap=True, overflow="ellipsis")
            table.add_row(Text(title, style="bold", no_wrap=True), bar, Text(one.place, no_wrap=True), doing)
        return Group(Text(self._sweep.headline), table)


class PlainSweep:
    """Print a line for every evaluated round of a job, and a line about all jobs at least every ten seconds.

    Rounds that a resumed job evaluated before are not printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._evaluated: dict[str, int] = {}
        self._printed = float("-inf")

    def __call__(self, sweep: SweepStanding) -> None:
        """Print the news."""
        for title, one in sweep.running.items():
            number = one.evaluation.server_round if one.evaluation else 0
            if number > self._evaluated.setdefault(title, number):
                self._print(f"{title}: {one.accuracies}")
            self._evaluated[title] = number
        if time.monotonic() - self._printed >= _PLAIN_SECONDS:
            places = "; ".join(f"{title}: {one.place}" for title, one in sweep.running.items())
            self._print(" | ".join(filter(None, (sweep.headline, places))))
            self._printed = time.monotonic()

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)
