"""Made-up files of an audit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.analysis.audit_files import Measured, seed_folder, write_measured
from experiments.analysis.security import Audited
from experiments.settings import APP_DIR, read_defaults
from fedmeta_flwr.records import CURVES, ClientEvaluation, Counts

_BENIGN = {"norms": [1.0, 2.0, 3.0], "cosines": [0.5, 0.6, 0.7], "more_norms": [4.0], "more_cosines": [-0.25]}


def write_audit(root: Path, attacks: Sequence[Audited], dataset: str = "strokes", profile: str = "quick") -> None:
    """Write the files of attacks, and of the clean models, in a results root."""
    for one in attacks:
        for each in (*one.poisoned, *one.clean):
            write_measured(seed_folder(root, dataset, profile, each.seed), each)


def measured(
    percent: int,
    *,
    seed: int = 0,
    name: str = "",
    steps: dict[int, int] | None = None,
    alone: int | None = None,
    **numbers: Any,
) -> Measured:
    """Every episode of both clients has this accuracy in every curve, and others along the steps of matching.

    With local training only, it is `alone` at all of these steps.
    """

    def counts(of: int) -> dict[str, Counts]:
        return {curve: Counts([of] * 3, [100] * 3) for curve in CURVES}

    along = {"matching": {step: counts(of) for step, of in (steps or {}).items()}} if steps else {}
    if alone is not None:
        along["local_only"] = {step: counts(alone) for step in steps or {}}
    return Measured(
        name=name or "clean",
        clean="clean" if name else "",
        seed=seed,
        config=read_defaults(APP_DIR),
        evaluation=[ClientEvaluation(client, counts(percent), along) for client in (1, 2)],
        digest="made-up",
        numbers=numbers,
        origin={"seconds": 1.0},
    )


def audited(
    name: str,
    poisoned: int,
    clean: int = 20,
    *,
    steps: dict[int, int] | None = None,
    alone: int | None = None,
    holds: bool = True,
) -> Audited:
    upload = {"partition_id": 0, "norm": 6.0, "cosine": 0.1, "unchanged_share": 0.0, "checks": {"norm-bound": holds}}
    clean_steps = dict.fromkeys(steps, clean) if steps else None
    return Audited(
        name,
        [
            measured(
                poisoned,
                seed=seed,
                name=name,
                steps=steps,
                alone=alone,
                uploads=[upload],
                detection={"norm": 1.0, "cosine": 0.5},
            )
            for seed in range(3)
        ],
        [measured(clean, seed=seed, steps=clean_steps, alone=alone, benign=dict(_BENIGN)) for seed in range(3)],
    )
