"""One simulation with its times and its memory."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from experiments.engines import DEFAULT_ENGINE
from experiments.runner.progress import ResultFollower
from experiments.runner.ray_processes import RayProcesses
from experiments.runner.simulation import SimulationSize
from experiments.runner.superlink import LocalSuperLink, SuperLinkError
from fedmeta_flwr.records import RunResults, read_results

_LOOK_SECONDS = 0.2
_STARTUP_SECONDS = 180.0
_ACTOR = "ray::ClientAppActor"
_ENGINES: dict[str, type[LocalSuperLink] | type[RayProcesses]] = {DEFAULT_ENGINE: LocalSuperLink, "ray": RayProcesses}
_MAIN = {DEFAULT_ENGINE: "flwr-simulation", "ray": "experiments.engines.ray_job"}
_MEBIBYTE = 2**20


@dataclass
class TimedRun:
    """A finished simulation.

    Attributes
    ----------
    results : RunResults
        What it wrote.
    startup_seconds, shutdown_seconds : float
        From the start of the engine to that of the first round, and from the end of the last to that of the last
        process; to 0.2 s.
    main_mebibytes, actor_mebibytes : float
        Largest memory that was resident in the process of the ServerApp, and in any actor.
    """

    results: RunResults
    startup_seconds: float = 0.0
    shutdown_seconds: float = 0.0
    main_mebibytes: float = 0.0
    actor_mebibytes: float = 0.0


def timed_run(
    app_dir: Path,
    settings: Mapping[str, Any],
    size: SimulationSize,
    on_round: Callable[[int], None] = lambda number: None,
    engine: str = DEFAULT_ENGINE,
) -> TimedRun:
    """Run an app to its end on a separate engine, and measure it; `on_round` gets the number of finished rounds.

    Raises
    ------
    SuperLinkError
        If it does not complete.
    """
    folder = Path(settings["results-dir"])
    began = time.monotonic()
    first = last = None
    main = _MAIN[engine]
    largest = {main: 0.0, _ACTOR: 0.0}
    follower = ResultFollower(folder)
    with _ENGINES[engine]() as started:
        run_id = started.submit(app_dir, settings, size)
        while (results := follower.read()) is None or results.end is None:
            processes = started.processes()
            _note_memory(processes, largest)
            on_round(len(results.rounds) if results is not None else 0)
            if results is not None and results.rounds and first is None:
                first = time.monotonic() - results.rounds[0].seconds
            is_late = (
                not any(main in _command(pid) for pid in processes) and time.monotonic() - began > _STARTUP_SECONDS
            )
            if is_late or started.status(run_id).is_failed:
                raise SuperLinkError(f"the simulation ended without results:\n{started.log(run_id)[-2000:]}")
            time.sleep(_LOOK_SECONDS)
        last = time.monotonic()
        while any(main in _command(pid) for pid in started.processes()):
            time.sleep(_LOOK_SECONDS)
    ended = time.monotonic()
    return TimedRun(
        read_results(folder),
        startup_seconds=(first or last) - began,
        shutdown_seconds=ended - last,
        main_mebibytes=largest[main],
        actor_mebibytes=largest[_ACTOR],
    )


def _note_memory(processes: set[int], largest: dict[str, float]) -> None:
    for pid in processes:
        command = _command(pid)
        for name, mebibytes in largest.items():
            if name in command:
                largest[name] = max(mebibytes, _resident(pid))


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def _resident(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss / _MEBIBYTE)
    except psutil.Error:
        return 0.0
