"""A few rounds of the whole app on drawings, kept in ``golden_run.json``: arrivals, norms of updates, hits.

``PYTHONPATH=.:tests python -m golden.golden_run`` writes the file again. A change of these numbers is a change of what
the project computes, and belongs into the change log.

The rounds and the steps in them are few, because each multiplies by some ten what differs between processors: sums of
floats, and what Adam and the rectifiers make of them. After these few, norms agree to 1e-5 between the instruction sets
of one processor (``ATEN_CPU_CAPABILITY=default``); after six rounds of twice as many steps they differed by 0.01.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.records.results import read_results

FILE = Path(__file__).with_suffix(".json")
SETTINGS: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 28,
    "filters": 16,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "outer-steps": 1,
    "num-server-rounds": 4,
    "attack-round": 3,
    "poison-outer-steps": 3,
    "pretrain-evaluate-every": 1,
    "evaluate-every": 1,
    "evaluate-episodes": 4,
    "checkpoint-every": 0,
    "device": "cpu",
}


def golden_run() -> list[dict[str, Any]]:
    """Run it, and return a record per round: arrivals in order, norms of their updates, hits and trials by curve."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = SETTINGS | {"results-dir": f"{folder}/run", "cache-dir": f"{folder}/cache"}
        run_inline(merge_settings(read_defaults(APP_DIR), overrides))
        results = read_results(Path(folder, "run"))
    return [
        {
            "arrived": [arrival.partition_id for arrival in record.arrivals],
            "norms": [arrival.update_norm for arrival in record.arrivals],
            "accuracies": record.accuracies(),
        }
        for record in results.rounds
    ]


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden_run(), indent=1) + "\n", encoding="utf-8")
