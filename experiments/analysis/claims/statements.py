"""Claims as statements about counts, and how they are judged.

A claim names its inputs: *points* (`EpisodeCounts`) and *curves* (round to `EpisodeCounts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.half_life import half_life
from experiments.analysis.statistics import Curve, EpisodeCounts, Estimate, contrast

_DECIMALS = 9

Verdict = Literal["holds", "does not hold", "undecided"]
HoldsIf = Literal["above", "below", "within"]


class ClaimError(ValueError):
    """Inputs of a claim are missing; the message says which."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of the accuracies of named points, see `statistics.contrast`."""

    weights: Mapping[str, float]

    @property
    def needs(self) -> set[str]:
        """Names of its inputs."""
        return set(self.weights)

    def estimate(self, points: Mapping[str, EpisodeCounts], _: Mapping[str, Curve]) -> Estimate:
        """Return the estimate from the named inputs."""
        return contrast([(weight, points[name]) for name, weight in self.weights.items()])


@dataclass(frozen=True)
class Persistence:
    """The half-life of a named curve's excess over a named point, see `half_life`."""

    clean: str
    curve: str

    @property
    def needs(self) -> set[str]:
        """Names of its inputs."""
        return {self.clean, self.curve}

    def estimate(self, points: Mapping[str, EpisodeCounts], curves: Mapping[str, Curve]) -> Estimate:
        """Return the estimate from the named inputs."""
        return half_life(points[self.clean], curves[self.curve])


@dataclass(frozen=True)
class Statement:
    """What must be true of a quantity.

    Attributes
    ----------
    text : str
        The quantity in words.
    quantity : Contrast or Persistence
        In fractions (0..1, differences -1..1), or in rounds.
    holds_if, threshold
        As in `judge`.
    reason : str
        Why this threshold.
    premise : bool
        Whether it is a condition without which its claim says nothing, such as an attack that worked.
    """

    text: str
    quantity: Contrast | Persistence
    holds_if: HoldsIf
    threshold: float
    reason: str
    premise: bool = False


@dataclass(frozen=True)
class Row:
    """One judged statement."""

    claim: str
    statement: Statement
    estimate: Estimate
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """A claim of the poster: its id, its words, and the statements that make it testable, all of which must hold."""

    id: str
    text: str
    statements: tuple[Statement, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the points and curves to give, sorted."""
        return tuple(sorted({name for statement in self.statements for name in statement.quantity.needs}))

    def judge(self, points: Mapping[str, EpisodeCounts], curves: Mapping[str, Curve] | None = None) -> tuple[Row, ...]:
        """Estimate and judge every statement.

        Parameters
        ----------
        points, curves : mapping of str to EpisodeCounts or Curve
            At least what `needs` names.

        Returns
        -------
        tuple of Row
            In the order of the statements.

        Raises
        ------
        ClaimError
            If inputs are missing; names them all.
        CountsError
            If inputs cannot be paired.
        """
        curves = curves or {}
        if missing := [name for name in self.needs if name not in points and name not in curves]:
            raise ClaimError(f"{self.id}: expected the inputs {', '.join(self.needs)}; missing {', '.join(missing)}")
        return tuple(self._row(statement, statement.quantity.estimate(points, curves)) for statement in self.statements)

    def _row(self, statement: Statement, estimate: Estimate) -> Row:
        verdict = judge(estimate, holds_if=statement.holds_if, threshold=statement.threshold)
        return Row(self.id, statement, estimate, verdict)


def judge(estimate: Estimate, *, holds_if: HoldsIf, threshold: float) -> Verdict:
    """Judge a statement by the whole interval.

    Parameters
    ----------
    estimate : Estimate
        Of the quantity that the statement is about.
    holds_if : {"above", "below", "within"}
        The statement: quantity > threshold, quantity < threshold, or abs(quantity) <= threshold. The last is an
        equivalence test by interval inclusion (Schuirmann 1987), with a 95 % interval at a level of 2.5 %.
    threshold : float
        In the quantity's unit. Numbers that agree to 9 decimals are equal: 0.98 - 0.95 is within 0.03.

    Returns
    -------
    str
        ``"holds"`` if all of the interval satisfies the statement, ``"does not hold"`` if none of it does, else
        ``"undecided"``.

    Raises
    ------
    ValueError
        If `holds_if` is none of the three, or a margin ("within") is negative.
    """
    low, high = round(estimate.low, _DECIMALS), round(estimate.high, _DECIMALS)
    if holds_if not in ("above", "below", "within") or (holds_if == "within" and threshold < 0):
        raise ValueError(f"expected above, below, or within a margin from 0, found {holds_if!r} {threshold}")
    satisfied, contradicted = {
        "above": (low > threshold, high <= threshold),
        "below": (high < threshold, low >= threshold),
        "within": (-threshold <= low and high <= threshold, low > threshold or high < -threshold),
    }[holds_if]
    return "holds" if satisfied else "does not hold" if contradicted else "undecided"


def overall(rows: tuple[Row, ...]) -> Verdict:
    """Judge a claim by its statements.

    All must hold, each at its level (an intersection-union test needs no correction, Berger 1982). A claim is undecided
    if its premise is not met, or if there is only one seed, whatever its rows say.
    """
    premises = [row.verdict for row in rows if row.statement.premise]
    if not all(row.estimate.over_seeds for row in rows) or any(verdict != "holds" for verdict in premises):
        return "undecided"
    return together([row.verdict for row in rows if not row.statement.premise])


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on "all of these hold": does not hold if one does not, and undecided without any verdict.

    "All hold" needs no correction for their number, as in `overall`. "Not all hold" has a larger error: with n
    verdicts, a statement that is true of all is rejected with a probability of up to 2.5 % times n.
    """
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts and "undecided" not in verdicts else "undecided"
