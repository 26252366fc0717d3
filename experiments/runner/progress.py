"""The progress of a run, read from its growing result file."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from experiments.analysis.table import percentages
from experiments.runner.activity import Activity, clock
from experiments.runner.estimate import RECENT_ROUNDS, awaits_first_curves, remaining_seconds
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import LABELS, RoundRecord, RunResults, read_results
from fedmeta_flwr.records.results import FILE_NAME

_SHORT_SECONDS = 120.0
_STARTING = "starting"


class ResultFollower:
    """Read a result file again when it has grown.

    Parameters
    ----------
    results_dir : Path
        Folder in which the file will appear.
    after_round : int or None
        For a resumed run: the round of its checkpoint, 0 if it begins again. Later rounds and an end in the file are
        ignored until the run has truncated it. None for a new run.

    Attributes
    ----------
    has_changed : bool
        Whether the run has begun to write into the file.
    """

    def __init__(self, results_dir: Path, after_round: int | None = None) -> None:
        self._file = results_dir / FILE_NAME
        self._size = 0
        self._results: RunResults | None = None
        if after_round is not None and (found := self.read()):
            kept = tuple(record for record in found.rounds if record.server_round <= after_round)
            self._results = RunResults(found.run, kept, None)
        self.has_changed = False

    def read(self) -> RunResults | None:
        """Return the content of the file; None until it has a first complete line."""
        with suppress(FileNotFoundError):  # a run that begins again removes the file before it writes another
            size = self._file.stat().st_size
            if size and size != self._size and b"\n" in self._file.read_bytes():
                self._size, self._results = size, read_results(self._file)
                self.has_changed = True
        return self._results


@dataclass(frozen=True)
class Standing:
    """The state of a run at one moment.

    Attributes
    ----------
    server_round, num_rounds : int
        Last finished round, 0 before the first, and the number of rounds.
    phase : str
        Phase of the current round.
    evaluation : RoundRecord or None
        The last evaluated round.
    elapsed_seconds : float
        Since the start.
    remaining_seconds : float or None
        Estimate; None before the first round has ended.
    later_seconds : float or None
        Estimate for the runs after this one; None if there are none, or no estimate.
    seconds_per_round : float or None
        Mean of the last ten rounds; None before the first has ended.
    activity : Activity or None
        The current activity; None if unknown.
    activity_seconds : float
        How long it has been going on.
    awaits_curves : bool
        Whether the estimate leaves out step curves, of which none has been measured yet.
    """

    server_round: int
    num_rounds: int
    phase: str
    evaluation: RoundRecord | None
    elapsed_seconds: float
    remaining_seconds: float | None
    later_seconds: float | None = None
    seconds_per_round: float | None = None
    activity: Activity | None = None
    activity_seconds: float = 0.0
    awaits_curves: bool = False

    @property
    def place(self) -> str:
        """Return the current round and its phase, or the last round if none is going on."""
        if self.activity and self.activity.server_round:
            return f"round {self.activity.server_round}/{self.num_rounds}, {self.phase}"
        if not self.server_round:
            return _STARTING
        finished = f"round {self.server_round}/{self.num_rounds}"
        return f"after {finished}" if self.activity else f"{finished}, {self.phase}"

    @property
    def doing(self) -> str:
        """Return the current activity and how long it has been going on; empty if unknown."""
        return f"{self.activity.text}, {_duration(self.activity_seconds)}" if self.activity else ""

    @property
    def headline(self) -> str:
        """Return round, phase, and activity."""
        if self.doing and self.place == _STARTING:
            return self.doing
        return ": ".join(filter(None, (self.place, self.doing)))

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
        curves = " and the step curves" if self.awaits_curves else ""
        return f"{elapsed}, {clock(self.remaining_seconds)}{curves} left{later}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _SHORT_SECONDS else clock(seconds)


def standing(
    config: RunConfig,
    results: RunResults | None,
    elapsed_seconds: float,
    idle_seconds: float,
    activity: Activity | None = None,
) -> Standing:
    """Return the current state of a run.

    Parameters
    ----------
    config : RunConfig
        The run's settings.
    results : RunResults or None
        The content of the result file so far.
    elapsed_seconds, idle_seconds : float
        Time since the start, and since the last round ended.
    activity : Activity or None
        The current activity; it has the start of the current round, if there is one.
    """
    rounds = results.rounds if results else ()
    evaluated = results.evaluated() if results else []
    last = rounds[-1].server_round if rounds else 0
    current = min(last + 1, config.num_server_rounds)
    now = time.time()
    if activity is not None:
        current = activity.server_round or current
        idle_seconds = now - activity.round_began if activity.server_round > last else 0.0
    return Standing(
        server_round=last,
        num_rounds=config.num_server_rounds,
        phase=config.phase(current),
        evaluation=evaluated[-1] if evaluated else None,
        elapsed_seconds=elapsed_seconds,
        remaining_seconds=remaining_seconds(config, rounds, idle_seconds),
        awaits_curves=awaits_first_curves(config, rounds),
        seconds_per_round=fmean(record.seconds for record in rounds[-RECENT_ROUNDS:]) if rounds else None,
        activity=activity,
        activity_seconds=0.0 if activity is None else max(0.0, now - activity.began),
    )
