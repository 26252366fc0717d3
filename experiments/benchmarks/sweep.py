"""The runs of a seed: side by side, each in one process, beside one after the other, with Flower's simulation.

Side by side, cases (b) and (c) share a run; one after the other, they do not. Both ways give the same records.
"""

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.race import Contender, Tell, Turn, race
from experiments.engines import FLOWER, INLINE
from experiments.plan import PlannedRun
from experiments.runner.reproduce import ReproduceRequest, reproduce
from experiments.runner.simulation import count_cores
from experiments.settings import APP_DIR
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.records import read_results

_SEED = 0


def measure(
    repetitions: int, tell: Tell, names: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return a row for each way; what is counted are the rounds of all runs of the catalog.

    Parameters
    ----------
    repetitions : int
        Timed turns.
    tell : callable
        Called after each.
    names : sequence of str
        Experiments of the catalog; none: all.
    overrides : mapping of str to value
        Settings that differ from those of the quick profile.
    """
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as temporary:
        ways = _Ways(Path(temporary), tuple(names), {**(overrides or {}), "cache-dir": f"{temporary}/cache"})
        planned = ways.planned()
        load_scenario(planned[0].config)  # the images are drawn before anything is timed
        rounds = sum(_rounds_of(one) for one in planned)
        case = f"{len(planned)} runs of a seed, {count_cores()} cores"
        contenders = [
            Contender("side by side", ways.side_by_side, rounds),
            Contender("one after the other", ways.in_turn, rounds),
        ]
        found = race(contenders, repetitions, lambda turn: tell(Turn(case, turn, repetitions)), warms_up=False)
        ways.require_equal_records()
    return [{"case": case, **row} for row in found]


class _Ways:
    """Both ways to run the same runs, each time into another results root."""

    def __init__(self, folder: Path, names: tuple[str, ...], overrides: Mapping[str, Any]) -> None:
        self._folder = folder
        self._names = names
        self._overrides = tuple(f"{key}={value}" for key, value in overrides.items())
        self._numbers = itertools.count()
        self._roots: list[list[PlannedRun]] = []

    def side_by_side(self) -> None:
        self._run(INLINE, shares_cases=True)

    def in_turn(self) -> None:
        self._run(FLOWER, shares_cases=False)

    def planned(self) -> list[PlannedRun]:
        return self._request(INLINE, shares_cases=True).planned()

    def require_equal_records(self) -> None:
        """Raise `RuntimeError` if a run has other rounds in one results root than in another."""
        for same in zip(*self._roots, strict=True):
            records = [[record.to_json() for record in read_results(one.folder).rounds] for one in same]
            if any(found != records[0] for found in records):
                raise RuntimeError(
                    f"{same[0].run.name}: expected the same records side by side and one after the other"
                )

    def _run(self, engine: str, *, shares_cases: bool) -> None:
        self._roots.append(reproduce(self._request(engine, shares_cases=shares_cases), Console(quiet=True)))

    def _request(self, engine: str, *, shares_cases: bool) -> ReproduceRequest:
        return ReproduceRequest(
            names=self._names,
            dataset="strokes",
            profile="quick",
            seeds=(_SEED,),
            results_root=self._folder / f"root-{next(self._numbers)}",
            data_dir=None,
            overrides=self._overrides,
            engine=engine,
            jobs=None,
            ray_address=None,
            actors=None,
            quiet=True,
            app_dir=APP_DIR,
            shares_cases=shares_cases,
        )


def _rounds_of(one: PlannedRun) -> int:
    first = one.config.attack_round - 2 if one.run.after else 0
    return one.config.num_server_rounds - first
