"""A results root for the report: one real, tiny run of an attack with all its files, and made-up runs."""

from pathlib import Path
from typing import Any

from conftest import as_task
from unit.experiments.analysis.test_collection import write_run

from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults

SETTINGS: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "outer-steps": 1,
    "meta-batch-size": 1,
    "attack-round": 2,
    "num-server-rounds": 3,
    "poison-outer-steps": 4,
    "evaluate-every": 1,
    "pretrain-evaluate-every": 0,
    "evaluate-episodes": 2,
    "matching-way": 6,
    "matching-steps": 3,
    "step-curves": "fine-tuning matching head",
    "local-curve-steps": "0 3",
    "fine-tuning-curve-steps": "0 3",
    "fine-tuning-curve-episodes": 1,
    "checkpoint-every": 0,
    "device": "cpu",
}
REAL = Path("strokes", "quick", "seed-0", "attack-a")
"""Where the real run lies below the root."""


def make_root(root: Path, cache: Path) -> None:
    """Run the real one, and write the others: a case without models, and a missing data set."""
    overrides = SETTINGS | {"results-dir": str(root / REAL), "cache-dir": str(cache)}
    with as_task():
        run_inline(merge_settings(read_defaults(APP_DIR), overrides))
    size: dict[str, Any] = {"strokes_classes": 60, "image_size": 16, "matching_way": 6, "cache_dir": str(cache)}
    write_run(root, "attack-c", case="c", **size)
    for seed in (0, 1, 2):
        write_run(root, "attack-b", dataset="omniglot", case="b", seed=seed)
