"""Kill a run with SIGKILL at random points and resume it, again and again: the results must not show it.

The long series is a command, run from the checkout:

    PYTHONPATH=.:tests python -m integration.kill_trials --engine in-process --trials 200
    PYTHONPATH=.:tests python -m integration.kill_trials --engine simulation --trials 20

A trial starts (or resumes) the run and kills every process of it, or only the runner, at a random time. When
a run comes to its end, its result file and its model are compared, byte by byte, with those of an undisturbed run.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w
from integration.in_process_app import ForkedRun

from experiments.runner.processes import Descendants
from experiments.runner.simulation import read_git_revision
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.records.checkpoint import MODEL_FILE_NAME
from fedmeta_flwr.records.results import FILE_NAME, TIMES_FILE_NAME, ResultsError, read_results

# All that a checkpoint must hold: clients' memories, late updates, moments of the strategy; rounds of some 0.3 s.
SETTINGS: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "defense": "federation",
    "matching-way": 6,
    "matching-steps": 1,
    "strategy": "fedadam",
    "strategy-options": '{"eta": 0.01}',
    "late-updates": "next-round",
    "latency-sigma": 1.5,
    "pretrain-rounds": 2,
    "pretrain-outer-steps": 2,
    "num-server-rounds": 16,
    "attack-round": 5,
    "poison-outer-steps": 3,
    "outer-steps": 6,
    "evaluate-every": 4,
    "evaluate-episodes": 2,
    "checkpoint-every": 2,
    "device": "cpu",
}
Process = ForkedRun | subprocess.Popen[bytes]

_LONGEST_SECONDS = 600.0
_SHARE_IN_ROUNDS = 0.8


@dataclass
class Outcome:
    """What a series has shown.

    Attributes
    ----------
    kills : Counter
        By what was killed, and when.
    completed, different : int
        Runs that came to their end, and how many of them did not equal the undisturbed one.
    seconds : float
        Of the whole series.
    """

    kills: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    different: int = 0
    seconds: float = 0.0


class Series:
    """Trials of one engine.

    Parameters
    ----------
    engine : str
        ``"in-process"`` (see `integration.in_process_app`) or ``"simulation"`` (the runner, Flower and Ray).
    folder : Path
        Empty; receives all files.
    seed : int
        Of the times and of what is killed.
    **settings
        Above `SETTINGS`.
    """

    def __init__(self, engine: str, folder: Path, seed: int, **settings: Any) -> None:
        self.engine = engine
        self._errors = folder / "errors"
        self.run_dir = folder / "run"
        self._reference = folder / "reference"
        self._rng = random.Random(seed)
        overrides = SETTINGS | {"cache-dir": str(folder / "cache")} | settings
        places = {"results-dir": str(self.run_dir), "resume": True}
        self._settings = merge_settings(read_defaults(APP_DIR), overrides | places)
        self._config_file = folder / "config.toml"
        self._config_file.write_text(tomli_w.dumps(overrides), encoding="utf-8")

    def run(self, kills: int) -> Outcome:
        """Make the undisturbed run (without Ray), kill so many times, and let the last run come to its end."""
        began = time.monotonic()
        outcome = Outcome()
        seconds = self._undisturbed()
        while sum(outcome.kills.values()) < kills or self.run_dir.exists():
            is_last = sum(outcome.kills.values()) >= kills
            killed = self._trial(None if is_last else self._moment(seconds))
            if killed is not None:
                outcome.kills[killed] += 1
                continue
            outcome.completed += 1
            outcome.different += not self._is_same()
            shutil.rmtree(self.run_dir)
        outcome.seconds = time.monotonic() - began
        return outcome

    def _moment(self, seconds: float) -> tuple[bool, float]:
        """Draw when to kill: mostly during rounds, otherwise at any time; whether from the first round, and seconds."""
        if self._rng.random() < _SHARE_IN_ROUNDS:
            return True, self._rng.uniform(0.0, sum(one.seconds for one in read_results(self._reference).rounds))
        return False, self._rng.uniform(0.0, seconds)

    def _undisturbed(self) -> float:
        began = time.monotonic()
        engine, self.engine = self.engine, "in-process"
        assert self._trial(None) is None
        self.engine = engine
        self._reference.mkdir()
        for name in (FILE_NAME, TIMES_FILE_NAME, MODEL_FILE_NAME):
            shutil.copy(self.run_dir / name, self._reference)
        shutil.rmtree(self.run_dir)
        return time.monotonic() - began

    def _is_same(self) -> bool:
        names = (FILE_NAME, MODEL_FILE_NAME)
        return all((self.run_dir / name).read_bytes() == (self._reference / name).read_bytes() for name in names)

    def _trial(self, moment: tuple[bool, float] | None) -> str | None:
        """Start or resume the run; return what was killed at the moment, None if the run was completed."""
        before = self._state()
        process = self._start()
        descendants = Descendants(process.pid)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(descendants, ended))
        watcher.start()
        try:
            self._wait(process, moment)
        except subprocess.TimeoutExpired:
            what = self._rng.choice(["everything", "the runner"]) if self.engine == "simulation" else "everything"
            self._kill(process, descendants, what)
            return f"{what}, {'in a round' if self._state() != before else 'before a first round'}"
        finally:
            ended.set()
            watcher.join()
        if code := process.wait():
            raise RuntimeError(f"the run failed with exit code {code}:\n{self._errors.read_text(encoding='utf-8')}")
        return None

    def _wait(self, process: Process, moment: tuple[bool, float] | None) -> None:
        """Wait for the end; raises `TimeoutExpired` at the moment."""
        if moment is None:
            process.wait(_LONGEST_SECONDS)
            return
        is_from_first_round, seconds = moment
        began = time.time()
        rounds: int | None = None  # in the file once this trial has begun it, or cut it to its checkpoint
        while is_from_first_round and process.poll() is None and time.time() - began < _LONGEST_SECONDS:
            if rounds is not None and self._state() > rounds:
                break
            if rounds is None and self._was_written_since(began):
                rounds = self._state()
            time.sleep(0.02)
        process.wait(seconds)

    def _was_written_since(self, moment: float) -> bool:
        file = self.run_dir / FILE_NAME
        return file.is_file() and file.stat().st_mtime > moment

    def _start(self) -> Process:
        if self.engine == "in-process":
            return ForkedRun(self._settings, self._errors, read_git_revision(APP_DIR))
        command = [sys.executable, "-m", "experiments", "run", str(self._config_file), "--quiet", "--resume"]
        command += ["--actors", "1", "--results-dir", str(self.run_dir)]
        with self._errors.open("wb") as errors:
            return subprocess.Popen(
                command, cwd=APP_DIR, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    def _kill(self, process: Process, descendants: Descendants, what: str) -> None:
        """Kill, and wait until nothing is left: of a killed runner's processes its guardian takes care."""
        pids = [process.pid] if what == "the runner" else sorted(descendants.look(), key=lambda _: self._rng.random())
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).send_signal(signal.SIGKILL)
        process.wait()
        if what == "everything":
            descendants.end(1.0)
        elif not descendants.wait(60.0):
            raise RuntimeError(f"a minute after the runner was killed, there are still {descendants.look()}")

    def _state(self) -> int:
        """Return the number of rounds in the result file, which must be readable at any time."""
        try:
            return len(read_results(self.run_dir).rounds)
        except ResultsError as error:
            if (file := self.run_dir / FILE_NAME).is_file() and b"\n" in file.read_bytes():
                raise RuntimeError("a kill has left a result file that cannot be read") from error
            return 0


def _watch(descendants: Descendants, ended: threading.Event) -> None:
    while not ended.wait(0.2):
        descendants.look()


def main() -> None:
    """Run a series from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("in-process", "simulation"), default="in-process")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedmeta-kill-") as folder:
        outcome = Series(arguments.engine, Path(folder), arguments.seed).run(arguments.trials)
    print(json.dumps(vars(outcome) | {"trials": sum(outcome.kills.values())}, indent=1))
    sys.exit(1 if outcome.different else 0)


if __name__ == "__main__":
    main()
