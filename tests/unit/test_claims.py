import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmeta_flwr.claims import CLAIMS, ClaimError, HoldsIf, Verdict, judge, overall
from fedmeta_flwr.statistics import CountsError, EpisodeCounts, Estimate

TRIALS = 1000


def at(percent: float, seeds: int = 3) -> EpisodeCounts:
    """Return counts of exactly this accuracy in every episode: intervals have no width."""
    hits = np.full((seeds, 2, 3), round(percent * TRIALS / 100))
    return EpisodeCounts(tuple(range(seeds)), (1, 2), hits, np.full(hits.shape, TRIALS))


def noisy(percents: list[float]) -> EpisodeCounts:
    """Return counts with one accuracy per seed."""
    hits = np.array([np.full((2, 3), round(percent * TRIALS / 100)) for percent in percents])
    return EpisodeCounts(tuple(range(len(hits))), (1, 2), hits, np.full(hits.shape, TRIALS))


def verdict(claim: str, percents: dict[str, float], after: dict[int, float] | None = None) -> Verdict:
    points = {name: at(percent) for name, percent in percents.items()}
    curve = {number: at(percent) for number, percent in (after or {}).items()}
    return overall(CLAIMS[claim].judge(points, {"after": curve}))


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


def test_every_claim_of_the_poster_is_there_and_gives_its_reasons() -> None:
    assert list(CLAIMS) == ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"]
    for claim in CLAIMS.values():
        assert claim.needs
        assert all(statement.reason for statement in claim.statements)


def decay(half: float, rounds: int = 40) -> dict[int, float]:
    return {61 + t: 20 + 60 * 2 ** (-t / half) for t in range(rounds + 1)}


@pytest.mark.parametrize(
    ("half", "last", "attacked", "expected"),
    [
        (15, 40, 80, "holds"),
        (100, 70, 80, "holds"),  # censored beyond 40 rounds
        (5, 40, 80, "does not hold"),
        (15, 22, 80, "does not hold"),  # gone at the end
        (15, 40, 24, "undecided"),  # an attack that did not work cannot persist
    ],
)
def test_p1_asks_for_a_half_life_of_tens_of_rounds_and_a_rest_at_the_end(
    half: float, last: float, attacked: float, expected: Verdict
) -> None:
    points = {"attacked": attacked, "attacked_clean": 20, "last": last}
    assert verdict("P1", points, decay(half)) == expected


@pytest.mark.parametrize(
    ("validation", "validation_clean", "expected"),
    [(70, 20, "holds"), (80, 20, "does not hold"), (75, 10, "does not hold")],
)
def test_p2_compares_the_two_attack_sets_also_above_their_baselines(
    validation: float, validation_clean: float, expected: Verdict
) -> None:
    training = {"training": 80.0, "training_clean": 20.0}
    assert verdict("P2", training | {"validation": validation, "validation_clean": validation_clean}) == expected


@pytest.mark.parametrize(("case_b", "expected"), [(85, "holds"), (55, "does not hold")])
def test_p3_asks_for_a_smaller_excess_than_in_both_other_cases(case_b: float, expected: Verdict) -> None:
    clean = {"case_a_clean": 20.0, "case_b_clean": 20.0, "case_c_clean": 0.0}
    assert verdict("P3", clean | {"case_a": 83, "case_b": case_b, "case_c": 40}) == expected


@pytest.mark.parametrize(
    ("tuned", "ordinary", "expected"), [(78, 80, "holds"), (66, 80, "does not hold"), (23, 24, "undecided")]
)
def test_p4_lets_fine_tuning_cost_a_fifth_of_the_excess(tuned: float, ordinary: float, expected: Verdict) -> None:
    points = {"tuned": tuned, "tuned_clean": 20, "ordinary": ordinary, "ordinary_clean": 20}
    assert verdict("P4", points) == expected


@pytest.mark.parametrize(("tuned", "expected"), [(10, "holds"), (4, "does not hold")])
def test_p5_asks_for_a_backdoor_after_fine_tuning(tuned: float, expected: Verdict) -> None:
    points = {"tuned": tuned, "tuned_clean": 0, "ordinary": 40, "ordinary_clean": 0}
    assert verdict("P5", points) == expected


@pytest.mark.parametrize(
    ("defended", "undefended", "expected"),
    [(23, 80, "holds"), (10, 80, "holds"), (26, 80, "does not hold"), (20, 22, "undecided")],
)
def test_p6_asks_for_a_backdoor_that_was_there_and_is_gone(
    defended: float, undefended: float, expected: Verdict
) -> None:
    clean = {"undefended_clean": 20.0, "defended_clean": 20.0}
    assert verdict("P6", clean | {"defended": defended, "undefended": undefended}) == expected


@pytest.mark.parametrize(("defended", "expected"), [(90, "holds"), (96, "does not hold")])
def test_p7_asks_for_a_loss(defended: float, expected: Verdict) -> None:
    assert verdict("P7", {"defended": defended, "undefended": 95}) == expected


@pytest.mark.parametrize(
    ("meta_testing", "attacked", "expected"),
    [(94, 80, "holds"), (98, 80, "holds"), (91, 80, "does not hold"), (94, 22, "undecided")],
)
def test_p8_asks_for_equal_accuracies_under_an_attack_that_works(
    meta_testing: float, attacked: float, expected: Verdict
) -> None:
    clean = {"meta_testing_clean": 95.0, "main_task_clean": 97.0, "attacked_clean": 20.0}
    assert verdict("P8", clean | {"meta_testing": meta_testing, "main_task": 97, "attacked": attacked}) == expected


def test_seeds_that_disagree_leave_a_claim_undecided() -> None:
    points = {"defended": noisy([95, 80, 97]), "undefended": noisy([94, 95, 95])}
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
