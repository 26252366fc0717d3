"""The benchmarks by name: run one, show its table, save its numbers."""

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.benchmarks.race import Tell, Turn
from experiments.engines import DEFAULT_ENGINE
from experiments.runner.simulation import actor_environment, read_git_revision
from experiments.settings import APP_DIR
from fedmeta_flwr.records import describe_machine, write_whole


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark measures, its default number of turns, and whether it measures the engine that is chosen."""

    text: str
    repetitions: int
    has_engine: bool = False


BENCHMARKS = {
    "update": Benchmark("a benign client's local update, beside a bare loop and learn2learn's own way", 9),
    "evaluate": Benchmark("a client's evaluation, beside a bare loop", 7),
    "round": Benchmark("a round of the simulation, beside a bare pool and the engine ray; start-up and shut-down", 8),
    "scale": Benchmark("a round of the simulation, from 4 to 1024 clients", 1, has_engine=True),
    "sweep": Benchmark("the runs of a seed side by side, beside one after the other; the quick profile", 1),
    "short-sweep": Benchmark("the same as sweep, with few and short runs", 1),
}
"""All benchmarks by name, which is that of a module in `experiments.benchmarks`, with dashes."""

_TURN = "turn: "
_PACKAGES = ("flwr", "learn2learn", "numba", "numpy", "ray", "torch")


class BenchmarkError(RuntimeError):
    """A benchmark failed; the message has the end of its output."""


def run_benchmark(
    name: str, repetitions: int | None, folder: Path, tell: Tell = lambda turn: None, engine: str | None = None
) -> tuple[dict[str, Any], Path]:
    """Measure in a process like an actor's, and write the result.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    repetitions : int or None
        Timed runs of each contender; None: the default of the benchmark.
    folder : Path
        Where ``bench-NAME.json`` goes.
    tell : callable
        Called with the progress.
    engine : str or None
        ``"flower"`` or ``"ray"``, for a benchmark that measures one; None: Flower's.

    Returns
    -------
    dict
        ``benchmark``, ``git_revision``, ``machine``, ``versions``, ``repetitions``, ``seconds`` (in all) and ``rows``.
    Path
        The file.

    Raises
    ------
    ValueError
        If an engine is chosen for a benchmark that has none.
    BenchmarkError
        If the benchmark fails; with the end of its output.
    """
    began = time.monotonic()
    options = _options(name, engine)
    repetitions = repetitions or BENCHMARKS[name].repetitions
    folder.mkdir(parents=True, exist_ok=True)  # fails now, before the measurement, if it cannot be written
    rows = _measure(name, repetitions, tell, options)
    result = {
        "benchmark": name,
        "git_revision": read_git_revision(APP_DIR),
        "machine": describe_machine(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        "repetitions": repetitions,
        "seconds": time.monotonic() - began,
        "rows": rows,
    }
    suffix = f"-{engine}" if engine not in (None, DEFAULT_ENGINE) else ""
    file = folder / f"bench-{name}{suffix}.json"
    write_whole(file, json.dumps(result, indent=1))
    return result, file


def _options(name: str, engine: str | None) -> list[str]:
    if BENCHMARKS[name].has_engine:
        return [engine or DEFAULT_ENGINE]
    if engine is not None:
        raise ValueError(f"engine: expected none with bench {name}, which always measures the same, found {engine}")
    return []


def _measure(name: str, repetitions: int, tell: Tell, options: Sequence[str]) -> list[dict[str, Any]]:
    environment = {**os.environ, **actor_environment(), "PYTHONPATH": str(APP_DIR)}
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as temporary:
        rows_file, errors_file = Path(temporary, "rows.json"), Path(temporary, "errors")
        command = [sys.executable, "-P", "-W", "ignore", "-m", "experiments.benchmarks.running", name, str(repetitions)]
        with (
            errors_file.open("wb") as errors,
            subprocess.Popen(
                [*command, str(rows_file), *options], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            try:
                for line in process.stdout or ():
                    if line.startswith(_TURN):
                        tell(Turn(**json.loads(line.removeprefix(_TURN))))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            last_words = errors_file.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchmarkError(f"benchmark {name} failed:\n{last_words}")
        rows: list[dict[str, Any]] = json.loads(rows_file.read_text(encoding="utf-8"))
    return rows


def benchmark_table(result: dict[str, Any]) -> Table:
    """Return the rows as a table; a ratio says how many times as fast the first contender of a case is."""
    title = f"{result['benchmark']}: {BENCHMARKS[result['benchmark']].text}; {result['repetitions']} turns"
    caption = f"{result['machine']['cores']} cores, {result['machine']['processor']}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left", box=SIMPLE_HEAD)
    for heading in ("case", "contender"):
        table.add_column(heading)
    for heading in ("per second", "ratio", "lowest", "highest"):
        table.add_column(heading, justify="right", no_wrap=True)
    case = None
    for row in result["rows"]:
        ratio = row["ratio"]
        numbers = (f"{row['per_second']:.2f}", *(f"{ratio[key]:.2f}" for key in ("median", "lowest", "highest")))
        table.add_row("" if row["case"] == case else row["case"], row["contender"], *numbers)
        case = row["case"]
    return table


def _print_turn(turn: Turn) -> None:
    print(_TURN + json.dumps(vars(turn)), flush=True)


if __name__ == "__main__":
    _, chosen, number, target, *given = sys.argv
    module = importlib.import_module(f"experiments.benchmarks.{chosen.replace('-', '_')}")
    measured = module.measure(int(number), _print_turn, *given)
    Path(target).write_text(json.dumps(measured), encoding="utf-8")
