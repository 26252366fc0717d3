"""The poster's claims P1 to P8 as statements about counts: data, and how it is judged.

A claim names its inputs: *points* (`EpisodeCounts` of one backdoor curve unless its name says otherwise) and *curves*
(round to `EpisodeCounts`). Backdoor claims are judged for each attack test set, case and data set: call `Claim.judge`
once for each. ``<name>_clean`` is the clean baseline of ``<name>``: the same measurement on the clean model, be it the
round before the attack or a control run, with the same head and as many steps.

The poster gives no thresholds. All are our choice, made without a look at result files; only the plain PyTorch trial on
Omniglot was known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedmeta_flwr.statistics import Curve, EpisodeCounts, Estimate, contrast, half_life

GONE_FRACTION = 0.05
"""Our choice: an excess over the clean baseline of 5 points, one stamped query in twenty, is no useful backdoor."""

STEALTH_FRACTION = 0.03
"""Our choice: a user does not notice 3 queries in a hundred."""

KEPT_FRACTION = 0.8
"""Our choice: fine-tuning that leaves four fifths of the excess does not dampen it; a share suits any data set."""

PERSISTENT_ROUNDS = 10
"""Our choice: "tens of rounds" begin at ten."""

_DECIMALS = 9

Verdict = Literal["holds", "does not hold", "undecided"]
HoldsIf = Literal["above", "below", "within"]


class ClaimError(ValueError):
    """Inputs that a claim needs and did not get; says which."""


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
    """The half-life of a named curve's excess over a named point, see `statistics.half_life`."""

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
            What `needs` names, and maybe more.

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

    All must hold, each at its own level (an intersection-union test needs no correction, Berger 1982). A claim whose
    premise is not met is undecided, and so is one that rests on a single seed, whatever its rows say.
    """
    premises = [row.verdict for row in rows if row.statement.premise]
    verdicts = [row.verdict for row in rows if not row.statement.premise]
    if not all(row.estimate.over_seeds for row in rows) or any(verdict != "holds" for verdict in premises):
        return "undecided"
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts else "holds"


def _excess(*names: str, weights: tuple[float, ...] = (1.0,)) -> Contrast:
    """Return a weighted sum of excesses over the clean baseline of each name."""
    signed = dict(zip(names, weights, strict=True))
    return Contrast(signed | {f"{name}_clean": -weight for name, weight in signed.items()})


def _attack_works(name: str) -> Statement:
    text = "excess backdoor accuracy before anything is done about it"
    reason = "without a backdoor the claim says nothing; 5 points as for a backdoor that is gone"
    return Statement(text, _excess(name), "above", GONE_FRACTION, reason, premise=True)


_SIGN = "the claim is about the sign alone"
_P1 = (
    _attack_works("attacked"),
    Statement(
        "half-life of the excess, in benign rounds",
        Persistence("attacked_clean", "after"),
        "above",
        PERSISTENT_ROUNDS,
        "tens of rounds begin at ten",
    ),
    Statement(
        "excess backdoor accuracy after the last benign round",
        Contrast({"last": 1.0, "attacked_clean": -1.0}),
        "above",
        GONE_FRACTION,
        "5 points or less count as gone; the number of rounds belongs beside it",
    ),
)
_P2 = (
    Statement(
        "backdoor accuracy, attack training minus attack validation",
        Contrast({"training": 1.0, "validation": -1.0}),
        "above",
        0.0,
        _SIGN,
    ),
    Statement(
        "the same of the excesses",
        _excess("training", "validation", weights=(1.0, -1.0)),
        "above",
        0.0,
        "the two image sets may differ on the clean model already; " + _SIGN,
    ),
)
_P3 = tuple(
    Statement(
        f"excess backdoor accuracy, case (c) minus case ({case})",
        _excess("case_c", f"case_{case}", weights=(1.0, -1.0)),
        "below",
        0.0,
        _SIGN,
    )
    for case in "ab"
)
_P4 = (
    _attack_works("ordinary"),
    Statement(
        f"excess after all fine-tuning steps minus {KEPT_FRACTION} of that after the ordinary ones",
        _excess("tuned", "ordinary", weights=(1.0, -KEPT_FRACTION)),
        "above",
        0.0,
        "four fifths of the excess are left: not dampened",
    ),
)
_P5 = (
    _attack_works("ordinary"),
    Statement(
        "excess backdoor accuracy after all fine-tuning steps",
        _excess("tuned"),
        "above",
        GONE_FRACTION,
        "removed effectively means 5 points or less",
    ),
)
_P6 = (
    _attack_works("undefended"),
    Statement(
        "excess backdoor accuracy under the defense, after at most 50 local steps",
        _excess("defended"),
        "below",
        GONE_FRACTION,
        "removed means within 5 points of the clean baseline, or below it; few means 50 at most",
    ),
)
_P7 = (
    Statement(
        "accuracy of clean queries, defended minus undefended",
        Contrast({"defended": 1.0, "undefended": -1.0}),
        "below",
        0.0,
        _SIGN + "; how much it costs is the estimate",
    ),
)
_P8 = (
    _attack_works("attacked"),
    *(
        Statement(
            f"{words} accuracy, attacked minus clean",
            _excess(name),
            "within",
            STEALTH_FRACTION,
            "hardly changed means by 3 points at most",
        )
        for name, words in (("meta_testing", "meta-testing"), ("main_task", "main-task"))
    ),
)
CLAIMS = {
    claim.id: claim
    for claim in (
        Claim("P1", "after a one-shot attack the backdoor persists for tens of benign rounds or more", _P1),
        Claim("P2", "backdoor accuracy is higher on attack training than on attack validation", _P2),
        Claim("P3", "in case (c) the attack is less successful than in (a) and (b)", _P3),
        Claim("P4", "in (a) and (b) fine-tuning does not dampen the backdoor, even after 500 steps", _P4),
        Claim("P5", "in (c) fine-tuning does not remove the backdoor effectively", _P5),
        Claim("P6", "the defense removes the backdoor effectively and in few local steps", _P6),
        Claim("P7", "the defense costs accuracy", _P7),
        Claim("P8", "the attack is stealthy: meta-testing and main-task accuracy hardly change", _P8),
    )
}
"""The poster's claims by id; `Claim.needs` names what each is to be given."""
