import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.made_up_counts import at

from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.statements import ClaimError, HoldsIf, Verdict, judge, overall, together
from experiments.analysis.statistics import CountsError, Estimate


@pytest.mark.parametrize(
    ("low", "high", "holds_if", "threshold", "expected"),
    [
        (0.1, 0.3, "above", 0.0, "holds"),
        (0.0, 0.3, "above", 0.0, "undecided"),  # a bound on the threshold does not exceed it
        (-0.2, 0.0, "above", 0.0, "does not hold"),
        (0.0, 0.0, "above", 0.0, "does not hold"),
        (-0.3, -0.1, "below", 0.0, "holds"),
        (-0.3, 0.0, "below", 0.0, "undecided"),
        (0.0, 0.3, "below", 0.0, "does not hold"),
        (-0.03, 0.03, "within", 0.03, "holds"),  # the margin itself is within
        (-0.04, 0.01, "within", 0.03, "undecided"),
        (0.03, 0.05, "within", 0.03, "undecided"),
        (0.031, 0.05, "within", 0.03, "does not hold"),
        (-0.05, -0.031, "within", 0.03, "does not hold"),
        (-0.05, 0.05, "within", 0.03, "undecided"),
        (0.98 - 0.95, 0.98 - 0.95, "within", 0.03, "holds"),  # 0.030000000000000027
        (1e-17, 1e-17, "above", 0.0, "does not hold"),  # rounding is no evidence
        (12, math.inf, "above", 10, "holds"),  # a censored half-life
        (8, math.inf, "above", 10, "undecided"),
    ],
)
def test_a_statement_is_judged_by_the_whole_interval(
    low: float, high: float, holds_if: HoldsIf, threshold: float, expected: Verdict
) -> None:
    assert judge(Estimate(low, low, high, 3, 60), holds_if=holds_if, threshold=threshold) == expected


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_above_and_below_never_both_hold(first: float, second: float, threshold: float) -> None:
    estimate = Estimate(min(first, second), min(first, second), max(first, second), 3, 60)
    above = judge(estimate, holds_if="above", threshold=threshold)
    below = judge(estimate, holds_if="below", threshold=threshold)
    assert (above, below) != ("holds", "holds")
    assert above != "holds" or below == "does not hold"
    assert below != "holds" or above == "does not hold"


@pytest.mark.parametrize(("holds_if", "threshold"), [("within", -0.1), ("equal", 0.0)])
def test_an_unknown_statement_is_refused(holds_if: HoldsIf, threshold: float) -> None:
    with pytest.raises(ValueError, match="expected above, below, or within"):
        judge(Estimate(0, 0, 0, 3, 60), holds_if=holds_if, threshold=threshold)


def test_seeds_that_disagree_leave_a_claim_undecided() -> None:
    points = {"defended": at(95, 80, 97), "undefended": at(94, 95, 95)}
    rows = CLAIMS["P7"].judge(points)
    assert [row.verdict for row in rows] == ["undecided"] == [overall(rows)]


def test_one_seed_decides_no_claim_whatever_its_rows_say() -> None:
    points = {"defended": at(90, seeds=1), "undefended": at(95, seeds=1)}
    rows = CLAIMS["P7"].judge(points)
    assert [(row.verdict, row.estimate.seeds) for row in rows] == [("holds", 1)]
    assert overall(rows) == "undecided"


def test_rows_carry_the_claim_the_statement_and_the_numbers() -> None:
    (row,) = CLAIMS["P7"].judge({"defended": at(90), "undefended": at(95), "unrelated": at(1)})
    assert (row.claim, row.statement) == ("P7", CLAIMS["P7"].statements[0])
    assert row.estimate.value == pytest.approx(-0.05)
    assert (row.estimate.seeds, row.estimate.episodes) == (3, 3 * 2 * 3)


def test_missing_inputs_are_all_named() -> None:
    with pytest.raises(ClaimError, match=r"P1: expected .*; missing after, attacked, attacked_clean"):
        CLAIMS["P1"].judge({"last": at(5)})


def test_inputs_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(CountsError, match="to pair"):
        CLAIMS["P7"].judge({"defended": at(90), "undefended": at(95, seeds=2)})


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["undecided", "does not hold", "holds"], "does not hold"),
        ([], "undecided"),
    ],
)
def test_several_verdicts_together_hold_if_all_do_and_fail_if_one_does(
    verdicts: list[Verdict], expected: Verdict
) -> None:
    assert together(verdicts) == expected
