"""The benchmark `sweep` with few and short runs: it shows that both ways work, and less of what they gain."""

from typing import Any

from experiments.benchmarks import sweep
from experiments.benchmarks.race import Tell

_SHORT: dict[str, Any] = {
    "filters": 16,
    "pretrain-rounds": 4,
    "pretrain-outer-steps": 4,
    "poison-outer-steps": 20,
    "attack-round": 8,
    "num-server-rounds": 14,
    "evaluate-episodes": 4,
    "fine-tuning-curve-steps": "0 10 50",
    "local-curve-steps": "0 5",
    "matching-steps": 5,
}


def measure(repetitions: int, tell: Tell) -> list[dict[str, Any]]:
    """Return the rows of `sweep.measure` for short runs."""
    return sweep.measure(repetitions, tell, ("persistence",), _SHORT)
