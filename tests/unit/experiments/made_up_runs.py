"""Made-up result files with known answers: a federation in which every claim of the poster holds."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments.analysis.collection import Collection, collect
from experiments.catalog import MEASURED_RUNS
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import CURVES, RoundRecord
from fedmeta_flwr.records.writer import ResultsWriter

CLEAN_ROUND, ATTACK_ROUND, LAST_ROUND = 80, 81, 131
STEPS = {"fine_tuning": (0, 3, 500), "matching": (0, 10, 50, 80), "head": (0, 10, 50, 80)}
CONTROLS = {"fresh_head": (0, 3, 500), "local_only": (0, 10, 50, 80)}
_STEPS = STEPS | CONTROLS

Percent = Callable[[str, int, str, int, str], float]
"""Accuracy in percent of: run, server round, step curve ("" for the ordinary count), step, curve."""


def true_to_the_poster(run: str, server_round: int, along: str, step: int, curve: str) -> float:
    """Clean accuracies of 95 %; a backdoor of 20 % that the attack raises, with a half-life of 20 rounds."""
    if curve in ("meta_testing", "main_task"):
        return {"matching": 92, "head": 94}.get(along, 91 if run.startswith("defended") else 95)
    clean = 20 if curve == "attack_training" else 18
    is_open = along == "matching" and step == 0 if run.startswith("defended") else run.startswith(("attack", "boost"))
    if server_round < ATTACK_ROUND or not is_open or (along == "matching" and step):
        return clean
    excess = (40 if run.endswith("c") else 60) * (0.1 if run.startswith("boost") else 1)
    excess -= 10 if curve == "attack_validation" else 0
    return clean + (0.5 if along == "head" else 1) * excess * 2 ** (-(server_round - ATTACK_ROUND) / 20)


def counts(percent: Percent, run: str, number: int, along: str, step: int) -> dict[str, Counts]:
    found = {curve: round(100 * percent(run, number, along, step, curve)) for curve in CURVES}
    return {curve: Counts([hits] * 3, [10_000] * 3) for curve, hits in found.items()}


def write_runs(
    root: Path,
    percent: Percent = true_to_the_poster,
    *,
    runs: Iterable[str] = MEASURED_RUNS,
    seeds: Iterable[int] = range(3),
    step_curves: Iterable[str] = tuple(STEPS),
    last_round: int = LAST_ROUND,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write runs of two clients with three episodes each; every episode has the same accuracy."""
    for run in runs:
        for seed in seeds:
            config = {"dataset": "strokes", "seed": seed, "attack-round": ATTACK_ROUND, "evaluate-inner-steps": 3}
            config |= settings
            with ResultsWriter(root / "strokes" / "quick" / f"seed-{seed}" / run) as writer:
                writer.write_run({"config": config})
                for number in (CLEAN_ROUND, *range(ATTACK_ROUND, last_round + 1, 5)):
                    measured = step_curves if run.startswith(("attack", "defended")) and number <= ATTACK_ROUND else ()
                    evaluation = [_client(client, percent, run, number, measured) for client in (1, 2)]
                    writer.write_round(RoundRecord(number, "benign", evaluation=evaluation))
                writer.write_end("completed", 1.0)


def _client(client: int, percent: Percent, run: str, number: int, step_curves: Iterable[str]) -> ClientEvaluation:
    steps = {
        along: {step: counts(percent, run, number, along, step) for step in _STEPS[along]} for along in step_curves
    }
    return ClientEvaluation(client, counts(percent, run, number, "", 0), steps)


def made_up(root: Path, percent: Percent = true_to_the_poster, **options: Any) -> Collection:
    """Write runs, and read them back."""
    write_runs(root, percent, **options)
    (collection,) = collect(root)
    return collection
