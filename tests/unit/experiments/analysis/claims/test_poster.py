import pytest
from unit.made_up_counts import at

from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.statements import Verdict, overall


def verdict(claim: str, percents: dict[str, float], after: dict[int, float] | None = None) -> Verdict:
    points = {name: at(percent) for name, percent in percents.items()}
    curve = {number: at(percent) for number, percent in (after or {}).items()}
    return overall(CLAIMS[claim].judge(points, {"after": curve}))


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
