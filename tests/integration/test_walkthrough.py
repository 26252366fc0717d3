"""The walk through an attack and its defense, as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

from experiments.settings import APP_DIR
from fedmeta_flwr.records.results import CURVES

ACCURACIES = r" +".join(rf"{curve.replace('_', ' ')} +(\d+\.\d) %" for curve in CURVES)
MEASURED = (
    "clean model",
    "poisoned model",
    *(f"fine-tuning, {steps} steps" for steps in (0, 3, 20)),
    *(f"matching, {steps} steps" for steps in (0, 10)),
    *(f"clean model, matching, {steps} steps" for steps in (0, 10)),
)


def test_the_walk_ends_and_says_what_was_measured_at_every_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.walkthrough", "--quick", "--out", str(tmp_path)]
    process = subprocess.run(command, cwd=APP_DIR, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    found = re.findall(rf"^(\S.*?) +{ACCURACIES}$", process.stdout, flags=re.MULTILINE)
    assert [title for title, *_ in found] == list(MEASURED)
    assert all(0 <= float(accuracy) <= 100 for _, *accuracies in found for accuracy in accuracies)
    assert "norms of the updates: adversary" in process.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"scenario.png", "poisoned-episode.png", "healing.svg"}
