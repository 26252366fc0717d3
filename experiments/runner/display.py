"""A run's progress on the terminal, or as lines in a log."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.analysis.table import percentages
from experiments.runner.activity import Activity
from experiments.runner.progress import Standing, standing
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import LABELS, RoundRecord, RunResults

_PLAIN_SECONDS = 10.0
_LOOK_SECONDS = 1.0


class Show(Protocol):
    """Shows the progress of a run; called several times a second, or less often while the runner itself is busy."""

    def __call__(self, results: RunResults | None, activity: Activity | None = None) -> None:
        """Show the progress, given the content of the result file and the current activity."""


@contextmanager
def show_progress(
    config: RunConfig, console: Console, *, quiet: bool = False, later_seconds: float | None = None
) -> Iterator[Show]:
    """Follow a run: a live display on a terminal, plain lines elsewhere, nothing when quiet.

    Both show the time passing even when nothing new is reported. `later_seconds` is the expected time of the runs after
    this one.
    """
    timer = Timer(config, later_seconds)
    if quiet:
        yield lambda results, activity=None: None
    elif console.is_terminal:
        display = _LiveDisplay(timer)
        with Live(console=console, refresh_per_second=4, transient=True, get_renderable=display.render):
            yield display
    else:
        lines = PlainLines(timer, console, is_resumed=config.resume)
        with _repeated(lines.show_life) as require_success:

            def show(results: RunResults | None, activity: Activity | None = None) -> None:
                require_success()
                lines(results, activity)

            yield show


@contextmanager
def _repeated(action: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call `action` every second in a thread; yield a function that raises the thread's error, as the end also does."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def repeat() -> None:
        try:
            while not ended.wait(_LOOK_SECONDS):
                action()
        except BaseException as error:  # Rich turns a broken pipe into SystemExit, which a thread would swallow
            failed.append(error)

    def require_success() -> None:
        if failed:
            raise failed[0]

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield require_success
    finally:
        ended.set()
        thread.join()
    require_success()


class Timer:
    """Measure the times that the result file does not have: since the start, and since the last round ended."""

    def __init__(self, config: RunConfig, later_seconds: float | None = None) -> None:
        self._config = config
        self._later_seconds = later_seconds
        self._started = self._last_change = time.monotonic()
        self._rounds = 0

    def standing(self, results: RunResults | None, activity: Activity | None) -> Standing:
        """Return the state of the run now."""
        now = time.monotonic()
        rounds = len(results.rounds) if results else 0
        if rounds != self._rounds:
            self._rounds, self._last_change = rounds, now
        current = standing(self._config, results, now - self._started, now - self._last_change, activity)
        return replace(current, later_seconds=self._later_seconds)


class _LiveDisplay:
    """The progress, the current activity and the last accuracies, one line each, redrawn continually."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._told: tuple[RunResults | None, Activity | None] = (None, None)

    def __call__(self, results: RunResults | None, activity: Activity | None = None) -> None:
        """Store the news for the next rendering."""
        self._told = (results, activity)

    def render(self) -> Group:
        """Return the current display."""
        current = self._timer.standing(*self._told)
        line = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=current.num_rounds, completed=current.server_round, width=30)
        line.add_row(Text(current.place, style="bold", no_wrap=True), bar, Text(current.times))
        doing = Text(current.doing, no_wrap=True, overflow="ellipsis")
        return Group(line, doing, Text(current.accuracies))


class PlainLines:
    """Print a line for every evaluated round, and at least one every ten seconds.

    For a resumed run (`is_resumed`), rounds that were evaluated before are not printed again.
    """

    def __init__(self, timer: Timer, console: Console, *, is_resumed: bool = False) -> None:
        self._timer = timer
        self._console = console
        self._lock = threading.Lock()
        self._told: tuple[RunResults | None, Activity | None] = (None, None)
        self._last_told_round: int | None = None if is_resumed else 0
        self._printed = float("-inf")

    def __call__(self, results: RunResults | None, activity: Activity | None = None) -> None:
        """Print the news."""
        with self._lock:
            self._told = (results, activity)
            self._print_evaluated(results)
            self._print_life()

    def show_life(self) -> None:
        """Print the progress if the last line was printed long ago."""
        with self._lock:
            self._print_life()

    def _print_evaluated(self, results: RunResults | None) -> None:
        if results is None:
            return
        last = results.rounds[-1].server_round if results.rounds else 0
        if self._last_told_round is None:
            self._last_told_round = last
        for record in results.evaluated():
            if record.server_round > self._last_told_round:
                current = self._timer.standing(*self._told)
                self._print(f"round {record.server_round}/{current.num_rounds}, {record.phase}", record, current)
                self._last_told_round = record.server_round

    def _print_life(self) -> None:
        if time.monotonic() - self._printed >= _PLAIN_SECONDS:
            current = self._timer.standing(*self._told)
            self._print(current.headline, None, current)

    def _print(self, headline: str, record: RoundRecord | None, current: Standing) -> None:
        numbers = percentages(record).items() if record else ()
        accuracies = "; ".join(f"{LABELS[curve]} {number} %" for curve, number in numbers)
        line = " | ".join(filter(None, (headline, accuracies, current.times)))
        self._console.print(line, soft_wrap=True, highlight=False)
        self._printed = time.monotonic()
