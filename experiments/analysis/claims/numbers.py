"""An estimate as text for people and as JSON for programs."""

import math
from typing import Any

from experiments.analysis.claims.statements import Statement
from experiments.analysis.half_life import HalfLife
from experiments.analysis.statistics import Estimate


def estimate_text(estimate: Estimate) -> str:
    """Return value and interval: percentage points with one decimal, or whole rounds; ``> 50`` is beyond the run."""
    value, low, high = (_number(estimate, bound) for bound in (estimate.value, estimate.low, estimate.high))
    unit = " rounds" if isinstance(estimate, HalfLife) else ""
    return f"{value} [{low}, {high}]{unit}"


def _number(estimate: Estimate, bound: float) -> str:
    if not isinstance(estimate, HalfLife):
        return points_text(bound)
    return f"> {estimate.observed_rounds}" if math.isinf(bound) else f"{bound:.0f}"


def accuracy_text(estimate: Estimate) -> str:
    """Return an accuracy and its interval in percent, one decimal."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def points_text(fraction: float) -> str:
    """Return a difference of accuracies in signed percentage points, one decimal; zero has no sign."""
    points = round(100 * fraction, 1)
    return f"{points:+.1f}" if points else "0.0"


def threshold_text(statement: Statement, estimate: Estimate) -> str:
    """Return the statement's threshold, in the unit of the estimate."""
    in_rounds = isinstance(estimate, HalfLife)
    threshold = f"{statement.threshold:g} rounds" if in_rounds else f"{100 * statement.threshold:.1f}"
    return {"above": f"> {threshold}", "below": f"< {threshold}", "within": f"± {threshold}"}[statement.holds_if]


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate for strict JSON, which has no infinity.

    Returns
    -------
    dict
        ``value``, ``low``, ``high`` (fractions, or rounds; null where they lie beyond the observed rounds), ``unit``,
        ``seeds``, ``episodes``, ``over_seeds``, ``text``; of a half-life also ``censored`` (whether the value is
        beyond) and ``observed_rounds``.
    """
    bounds = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    record: dict[str, Any] = {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}
    record |= {"unit": "rounds" if isinstance(estimate, HalfLife) else "fraction"}
    record |= {"seeds": estimate.seeds, "episodes": estimate.episodes, "over_seeds": estimate.over_seeds}
    if isinstance(estimate, HalfLife):
        record |= {"censored": estimate.censored, "observed_rounds": estimate.observed_rounds}
    return record | {"text": estimate_text(estimate)}
