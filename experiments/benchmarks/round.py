"""The cost of a round of the simulation, compared with the same work in a bare pool of processes, and without work."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.pool import AsyncResult, Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.race import Tell, Turn, spread
from experiments.benchmarks.timed_run import TimedRun, timed_run
from experiments.engines import DEFAULT_ENGINE, FLOWER, RAY
from experiments.runner.simulation import SimulationSize
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.apps.assembly import initial_arrays, make_client
from fedmeta_flwr.apps.scenario import Scenario, load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.protocol import SERVER_ROUND
from fedmeta_flwr.records import DropReason, RoundRecord

NOOP_APP = Path(__file__).parent / "noop_app"
_NOOP_ROUNDS = 40
_WARM_UP_ROUNDS = 1
Arrays = list[np.ndarray]


def measure(repetitions: int, tell: Tell) -> list[dict[str, Any]]:
    """Return rows of a simulation of so many rounds of more than a second of work for each client, and of a pool's."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as temporary:
        config = busy_config(Path(temporary), repetitions + _WARM_UP_ROUNDS)
        size = SimulationSize(nodes=4, actors=cores)
        rounds = config.num_server_rounds
        run = timed_run(APP_DIR, config.to_run_config(), size, lambda number: tell(Turn("simulation", number, rounds)))
        records = run.results.rounds
        simulated = [record.seconds for record in records][_WARM_UP_ROUNDS:]
        tell(Turn("bare pool", 0, rounds))
        pooled, work_seconds = replay(config, records, cores)
        noop = {}
        for engine in (FLOWER, RAY):
            tell(Turn(f"clients without work, engine {engine}", 0, _NOOP_ROUNDS))
            noop[engine] = _noop_run(Path(temporary) / f"noop-{engine}", size, engine)
    pooled = pooled[_WARM_UP_ROUNDS:]
    case = f"4 clients, 3 arrivals, {cores} processes, {statistics.median(work_seconds):.1f} s of work for a client"
    total, bare = sum(simulated), sum(pooled)
    return [
        _row(case, "this project", simulated, {"median": 1.0, "lowest": 1.0, "highest": 1.0}),
        # Rounds overlap because of their stragglers, so only sums can be compared.
        _row(case, "bare pool", pooled, dict.fromkeys(("median", "lowest", "highest"), bare / total)),
        *_noop_rows(noop),
        *_ends(run),
    ]


def _row(case: str, contender: str, seconds: Sequence[float], ratio: Mapping[str, float]) -> dict[str, Any]:
    rate = len(seconds) / sum(seconds)
    return {
        "case": case,
        "contender": contender,
        "per_second": rate,
        "ratio": dict(ratio),
        "seconds": list(seconds),
        "milliseconds_per_round": spread([1000 * value for value in seconds]),
    }


def _noop_rows(runs: Mapping[str, TimedRun]) -> Iterator[dict[str, Any]]:
    """Yield the rounds, and then the starts, of clients without work on each engine."""
    rounds = {engine: [one.seconds for one in run.results.rounds][_WARM_UP_ROUNDS:] for engine, run in runs.items()}
    starts = {engine: [run.startup_seconds] for engine, run in runs.items()}
    for case, taken in (("4 clients, 3 arrivals, no work", rounds), ("start-up without data", starts)):
        first = statistics.median(taken[DEFAULT_ENGINE])
        for engine, seconds in taken.items():
            yield _row(case, f"engine {engine}", seconds, spread([statistics.median(seconds) / first]))


def _ends(run: TimedRun) -> Iterator[dict[str, Any]]:
    for name, seconds in (("start-up", run.startup_seconds), ("shut-down", run.shutdown_seconds)):
        yield _row(f"{name}, once for a run", "this project", [seconds], spread([1.0]))


def busy_config(folder: Path, rounds: int) -> RunConfig:
    """Return a federation on generated characters whose clients train for more than a second and never evaluate."""
    own = {
        "cache-dir": str(folder / "cache"),
        "results-dir": str(folder / "results"),
        "num-server-rounds": rounds,
        "pretrain-rounds": 0,
        "outer-steps": 14,
        "attack-round": 0,
        "adversary-between-attacks": "benign",
        "evaluate-every": 100_000,
        "evaluate-episodes": 1,
    }
    return RunConfig.parse(merge_settings(read_defaults(APP_DIR), own))


def replay(config: RunConfig, records: Sequence[RoundRecord], processes: int) -> tuple[list[float], list[float]]:
    """Do a simulation's work again in a bare pool: the same clients in the same rounds, waiting for the same arrivals.

    Returns
    -------
    list of float
        Seconds of each round.
    list of float
        Seconds of each client's work.
    """
    arrays = list(initial_arrays(config, load_scenario(config)).values())
    rounds, work = [], []
    under_way: dict[int, AsyncResult[tuple[Arrays, float]]] = {}
    with _warm_pool(config, processes) as pool:
        for record in records:
            began = time.perf_counter()
            arrived = [entry.partition_id for entry in record.arrivals]
            stragglers = [entry.partition_id for entry in record.dropped if entry.reason == DropReason.STRAGGLER]
            for partition_id in sorted(arrived + stragglers):
                task = (config, partition_id, record.server_round, arrays)
                under_way[partition_id] = pool.apply_async(_fit, task)
            answers = [under_way[partition_id].get() for partition_id in sorted(arrived)]
            arrays = [np.mean(group, axis=0) for group in zip(*(update for update, _ in answers), strict=True)]
            rounds.append(time.perf_counter() - began)
            work += [seconds for _, seconds in answers]
    return rounds, work


@contextmanager
def _warm_pool(config: RunConfig, processes: int) -> Iterator[Pool]:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_warm_up, [config] * 4 * processes, chunksize=1)
        yield pool


def _warm_up(config: RunConfig) -> None:
    torch.set_num_threads(1)
    _scenario(config)
    time.sleep(0.2)  # so that every process takes some


def _fit(config: RunConfig, partition_id: int, server_round: int, arrays: Arrays) -> tuple[Arrays, float]:
    began = time.perf_counter()
    client = make_client(config, _scenario(config), partition_id, torch.device("cpu"), Path())
    updated, _, _ = client.fit(arrays, {SERVER_ROUND: server_round})
    return updated, time.perf_counter() - began


@lru_cache(maxsize=1)
def _scenario(config: RunConfig) -> Scenario:
    return load_scenario(config)


def _noop_run(folder: Path, size: SimulationSize, engine: str) -> TimedRun:
    changes = {"results-dir": str(folder), "num-clients": size.nodes, "num-server-rounds": _NOOP_ROUNDS}
    return timed_run(NOOP_APP, merge_settings(read_defaults(NOOP_APP), changes), size, engine=engine)
