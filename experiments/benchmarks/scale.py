"""How a round's time and the memory grow with the number of clients, from 4 to 1024."""

import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmarks.race import Tell, Turn, spread
from experiments.benchmarks.timed_run import timed_run
from experiments.runner.simulation import SimulationSize, default_actors
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig

SIZES = (4, 16, 64, 256, 1024)
_LINEAR_FROM = 64
_CLASSES_PER_CLIENT = 3
_META_TEST_FRACTION = 0.1


def measure(repetitions: int, tell: Tell, engine: str) -> list[dict[str, Any]]:
    """Return a row for each number of clients: so many rounds after one that is not counted, quorum three quarters.

    The ratio is to growth in proportion to the number of clients: a round's time for each of 64 clients, to that at
    this size. Below 1, rounds grow faster than the federation.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as temporary:
        for clients in SIZES:
            rows.append(_row(clients, repetitions, Path(temporary), tell, engine))
    base = next(row["milliseconds_per_client"]["median"] for row in rows if row["clients"] == _LINEAR_FROM)
    for row in rows:
        row["ratio"] = spread([base * row["clients"] / (1000 * value) for value in row["seconds"]])
    for smaller, larger in zip([rows[0], *rows], rows, strict=False):
        clients = larger["clients"] - smaller["clients"]
        more = larger["main_mebibytes"] - smaller["main_mebibytes"]
        larger["main_mebibytes_per_client"] = more / clients if clients else 0.0
    return rows


def _row(clients: int, rounds: int, folder: Path, tell: Tell, engine: str) -> dict[str, Any]:
    config = many_clients(clients, rounds + 1, folder)
    load_scenario(config)  # the images are drawn before anything is timed
    size = SimulationSize(clients, default_actors(clients))
    case = f"{clients} clients, quorum {config.quorum}"
    run = timed_run(APP_DIR, config.to_run_config(), size, lambda number: tell(Turn(case, number, rounds + 1)), engine)
    seconds = [record.seconds for record in run.results.rounds][1:]
    return {
        "case": case,
        "contender": f"a round, engine {engine}",
        "clients": clients,
        "per_second": len(seconds) / sum(seconds),
        "seconds": seconds,
        "milliseconds_per_client": spread([1000 * value / clients for value in seconds]),
        "main_mebibytes": run.main_mebibytes,
        "actor_mebibytes": run.actor_mebibytes,
    }


def many_clients(clients: int, rounds: int, folder: Path) -> RunConfig:
    """Return a federation whose clients own disjoint classes of made-up characters and do one small outer step."""
    classes = round((clients * _CLASSES_PER_CLIENT + 5) / (1 - _META_TEST_FRACTION)) + 1
    own = {
        "cache-dir": str(folder / "cache"),
        "results-dir": str(folder / f"results-{clients}"),
        "strokes-classes": classes,
        "strokes-drawers": 10,
        "meta-test-fraction": _META_TEST_FRACTION,
        "attack-training-instances": 3,
        "attack-validation-instances": 1,
        "num-clients": clients,
        "quorum": 3 * clients // 4,
        "num-server-rounds": rounds,
        "pretrain-rounds": 0,
        "way": 2,
        "shot": 1,
        "query-shot": 1,
        "evaluate-query-shot": 1,
        "meta-batch-size": 1,
        "outer-steps": 1,
        "filters": 32,
        "attack-round": 0,
        "adversary-between-attacks": "benign",
        "evaluate-every": 0,
        "evaluate-episodes": 1,
    }
    return RunConfig.parse(merge_settings(read_defaults(APP_DIR), own))
