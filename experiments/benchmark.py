"""The benchmarks by name: run one, show its table, keep its numbers."""

import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.settings import APP_DIR
from experiments.simulation import actor_environment, read_git_revision

BENCHMARKS = {
    "update": "a benign client's local update, beside a bare loop and learn2learn's own way",
    "evaluate": "a client's evaluation, beside a bare loop",
    "round": "a round of the simulation, beside a bare pool of processes; start-up and shut-down",
    "scale": "a round of the simulation, from 4 to 1024 clients",
}
"""What each benchmark measures; the module of the same name in `experiments.benchmarks` does it."""

_PACKAGES = ("flwr", "learn2learn", "numpy", "ray", "torch")


class BenchmarkError(RuntimeError):
    """A benchmark that failed; with its own last words."""


def run_benchmark(name: str, repetitions: int | None, folder: Path) -> tuple[dict[str, Any], Path]:
    """Measure in a process like an actor's, and write the result.

    Parameters
    ----------
    name : str
        One of `BENCHMARKS`.
    repetitions : int or None
        Timed runs of each contender; None: the benchmark's own default.
    folder : Path
        Where ``bench-NAME.json`` goes.

    Returns
    -------
    dict
        ``benchmark``, ``git_revision``, ``machine``, ``versions``, ``repetitions``, ``seconds`` (in all) and ``rows``.
    Path
        The file.

    Raises
    ------
    BenchmarkError
        If the benchmark fails; with its own last words.
    """
    module = f"experiments.benchmarks.{name}"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as temporary:
        rows_file = Path(temporary) / "rows.json"
        repetitions = repetitions or importlib.import_module(module).DEFAULT_REPETITIONS
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "experiments.benchmark",
            name,
            str(repetitions),
            str(rows_file),
        ]
        environment = {**os.environ, **actor_environment(), "PYTHONPATH": str(APP_DIR)}
        finished = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if finished.returncode:
            raise BenchmarkError(f"benchmark {name} failed:\n{finished.stderr[-2000:]}")
        rows = json.loads(rows_file.read_text(encoding="utf-8"))
    result = {
        "benchmark": name,
        "git_revision": read_git_revision(APP_DIR),
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        "repetitions": repetitions,
        "seconds": time.monotonic() - began,
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"bench-{name}.json"
    file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result, file


def benchmark_table(result: dict[str, Any]) -> Table:
    """Return the rows as a table; a ratio is how many times as fast the first contender of a case is."""
    title = f"{result['benchmark']}: {BENCHMARKS[result['benchmark']]}; {result['repetitions']} turns"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
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


if __name__ == "__main__":
    _, chosen, turns, target = sys.argv
    measured = importlib.import_module(f"experiments.benchmarks.{chosen}").measure(int(turns))
    Path(target).write_text(json.dumps(measured), encoding="utf-8")
