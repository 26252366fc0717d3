"""How far a run has come: read from its growing result file, told on the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.table import LABELS, percentages
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.results import FILE_NAME, RoundRecord, RunResults, read_results

_PLAIN_SECONDS = 10.0
_RECENT_ROUNDS = 10


class ResultFollower:
    """Read a result file again when it has grown.

    Parameters
    ----------
    results_dir : Path
        Folder in which the file will appear.
    """

    def __init__(self, results_dir: Path) -> None:
        self._file = results_dir / FILE_NAME
        self._size = 0
        self._results: RunResults | None = None

    def read(self) -> RunResults | None:
        """Return what the file holds now; None until it has a first complete line."""
        size = self._file.stat().st_size if self._file.is_file() else 0
        if size != self._size and b"\n" in self._file.read_bytes():
            self._size, self._results = size, read_results(self._file)
        return self._results


@dataclass(frozen=True)
class Standing:
    """How a run stands at a moment.

    Attributes
    ----------
    server_round, num_rounds : int
        Last finished round, 0 before the first, and the number of rounds.
    phase : str
        Of the round that is going on; ``"starting"`` before the first round has ended.
    evaluation : RoundRecord or None
        The last evaluated round.
    elapsed_seconds : float
        Since the start.
    remaining_seconds : float or None
        Estimate; None before the first round has ended.
    later_seconds : float or None
        Estimate of what follows after this run; None where nothing does, or nothing is known of it.
    seconds_per_round : float or None
        Mean of the last ten rounds; None before the first has ended.
    """

    server_round: int
    num_rounds: int
    phase: str
    evaluation: RoundRecord | None
    elapsed_seconds: float
    remaining_seconds: float | None
    later_seconds: float | None = None
    seconds_per_round: float | None = None

    @property
    def headline(self) -> str:
        """Return round and phase."""
        return self.phase if self.phase == "starting" else f"round {self.server_round}/{self.num_rounds}, {self.phase}"

    @property
    def accuracies(self) -> str:
        """Return the accuracies of the last evaluation, in percent; empty before the first."""
        if self.evaluation is None:
            return ""
        numbers = percentages(self.evaluation).items()
        return f"after round {self.evaluation.server_round}: " + "; ".join(f"{LABELS[c]} {n} %" for c, n in numbers)

    @property
    def times(self) -> str:
        """Return the time since the start, the time of a round, and the time left."""
        elapsed = f"{clock(self.elapsed_seconds)} elapsed"
        if self.seconds_per_round is not None:
            elapsed += f", {self.seconds_per_round:.1f} s a round"
        if self.remaining_seconds is None:
            return elapsed
        later = "" if self.later_seconds is None else f", then {clock(self.later_seconds)} more"
        return f"{elapsed}, {clock(self.remaining_seconds)} left{later}"


def standing(config: RunConfig, results: RunResults | None, elapsed_seconds: float, idle_seconds: float) -> Standing:
    """Sum up a run.

    Parameters
    ----------
    config : RunConfig
        Of the run.
    results : RunResults or None
        What the file holds so far.
    elapsed_seconds, idle_seconds : float
        Time since the start, and since the last round ended.
    """
    rounds = results.rounds if results else ()
    evaluated = results.evaluated() if results else []
    last = rounds[-1].server_round if rounds else 0
    left = remaining_seconds(config, rounds)
    return Standing(
        server_round=last,
        num_rounds=config.num_server_rounds,
        phase=config.phase(min(last + 1, config.num_server_rounds)) if rounds else "starting",
        evaluation=evaluated[-1] if evaluated else None,
        elapsed_seconds=elapsed_seconds,
        remaining_seconds=None if left is None else max(0.0, left - idle_seconds),
        seconds_per_round=fmean(record.seconds for record in rounds[-_RECENT_ROUNDS:]) if rounds else None,
    )


def remaining_seconds(config: RunConfig, rounds: tuple[RoundRecord, ...]) -> float | None:
    """Estimate the time of the rounds to come, None before the first ordinary one has ended.

    Rounds differ by phase and by whether they end with an evaluation. A kind that was seen already costs what its
    last rounds took. Another costs its outer steps, at the mean price of a step so far, and an evaluation what
    evaluated rounds took more than others of their phase. Rounds with curves along local steps tell nothing of others,
    and the second of them costs what the first did.
    """
    curved = [record for record in rounds if _has_curves(config, record.server_round)]
    last_curved = curved[-1].seconds if curved else 0.0
    last_round = rounds[-1].server_round if rounds else 0
    rounds = tuple(record for record in rounds if record not in curved)
    if not rounds:
        return None
    seen: dict[tuple[str, bool], list[float]] = {}
    for record in rounds:
        seen.setdefault((record.phase, bool(record.evaluation)), []).append(record.seconds)
    costs = {kind: fmean(seconds[-_RECENT_ROUNDS:]) for kind, seconds in seen.items()}
    evaluation = _evaluation_seconds(costs)
    trained = sum(record.seconds - evaluation * bool(record.evaluation) for record in rounds)
    per_step = max(0.0, trained) / sum(_outer_steps(config, record.server_round) for record in rounds)

    def cost(server_round: int) -> float:
        is_evaluated = config.is_evaluated(server_round)
        guess = per_step * _outer_steps(config, server_round) + evaluation * is_evaluated
        usual = costs.get((config.phase(server_round), is_evaluated), guess)
        return max(usual, last_curved) if _has_curves(config, server_round) else usual

    return sum(cost(number) for number in range(last_round + 1, config.num_server_rounds + 1))


def _has_curves(config: RunConfig, server_round: int) -> bool:
    return bool(config.step_curve_names) and config.has_step_curves(server_round)


def _evaluation_seconds(costs: dict[tuple[str, bool], float]) -> float:
    phases = {phase for phase, _ in costs if (phase, True) in costs and (phase, False) in costs}
    differences = [costs[phase, True] - costs[phase, False] for phase in phases]
    return max(0.0, fmean(differences)) if differences else 0.0


def _outer_steps(config: RunConfig, server_round: int) -> int:
    benign = config.benign_outer_steps(server_round)
    return max(benign, config.poison_outer_steps) if config.is_attack(server_round) else benign


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Show(Protocol):
    """Tells how a run stands; called several times a second."""

    def __call__(self, results: RunResults | None) -> None:
        """Tell it, given what the result file holds."""


@contextmanager
def show_progress(
    config: RunConfig, console: Console, *, quiet: bool = False, later_seconds: float | None = None
) -> Iterator[Show]:
    """Follow a run: a live display on a terminal, plain lines elsewhere, nothing when quiet.

    `later_seconds` is the expected time of what follows after this run.
    """
    timer = _Timer(config, later_seconds)
    if quiet:
        yield lambda results: None
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda results: live.update(_display(timer.standing(results)))
    else:
        yield PlainLines(timer, console)


class _Timer:
    """Know the times that the result file does not: since the start, and since the last round ended."""

    def __init__(self, config: RunConfig, later_seconds: float | None = None) -> None:
        self._config = config
        self._later_seconds = later_seconds
        self._started = self._last_change = time.monotonic()
        self._rounds = 0

    def standing(self, results: RunResults | None) -> Standing:
        now = time.monotonic()
        rounds = len(results.rounds) if results else 0
        if rounds != self._rounds:
            self._rounds, self._last_change = rounds, now
        current = standing(self._config, results, now - self._started, now - self._last_change)
        return replace(current, later_seconds=self._later_seconds)


class PlainLines:
    """Print a line for every evaluated round, and one at least every ten seconds."""

    def __init__(self, timer: _Timer, console: Console) -> None:
        self._timer = timer
        self._console = console
        self._evaluated = 0
        self._printed = float("-inf")

    def __call__(self, results: RunResults | None) -> None:
        """Print what is new."""
        evaluated = results.evaluated() if results else []
        current = self._timer.standing(results)
        for record in evaluated[self._evaluated :]:
            self._print(f"round {record.server_round}/{current.num_rounds}, {record.phase}", record, current)
        if time.monotonic() - self._printed >= _PLAIN_SECONDS:
            self._print(current.headline, None, current)
        self._evaluated = len(evaluated)

    def _print(self, headline: str, record: RoundRecord | None, current: Standing) -> None:
        numbers = percentages(record).items() if record else ()
        accuracies = "; ".join(f"{LABELS[curve]} {number} %" for curve, number in numbers)
        line = " | ".join(filter(None, (headline, accuracies, current.times)))
        self._console.print(line, soft_wrap=True, highlight=False)
        self._printed = time.monotonic()


def _display(current: Standing) -> Group:
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=current.num_rounds, completed=current.server_round, width=30)
    line.add_row(Text(current.headline, style="bold"), bar, Text(current.times))
    return Group(line, Text(current.accuracies))
