from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.experiments.made_up_runs import ATTACK_ROUND, STEPS, made_up, true_to_the_poster, write_runs

from experiments.analysis import bootstrap
from experiments.analysis.claims.judging import Answer, Compared, Judged, judge_collection
from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.collection import collect
from experiments.catalog import MEASURED_RUNS


@pytest.fixture(autouse=True, scope="module")
def few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
        yield


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, few_resamples: None) -> Judged:
    """What is judged of runs in which every claim was planted."""
    return judge_collection(made_up(tmp_path_factory.mktemp("planted")))


def answer(judged: Judged, claim: str, variant: str = "") -> Answer:
    (found,) = [answer for answer in judged.answers if (answer.claim, answer.variant) == (claim, variant)]
    return found


def control(judged: Judged, text: str, case: str, measured: str) -> Compared:
    (found,) = [
        compared
        for compared in judged.controls
        if (compared.control.text, compared.control.case, compared.control.measured) == (text, case, measured)
    ]
    return found


def gone_in_case_a(run: str, server_round: int, along: str, step: int, curve: str) -> float:
    """The backdoor is there right after the attack, and nowhere later."""
    at = 80 if run == "attack-a" and server_round > ATTACK_ROUND else server_round
    return true_to_the_poster(run, at, along, step, curve)


def defense_fails_in_case_a(run: str, server_round: int, along: str, step: int, curve: str) -> float:
    """Local training of the matching network changes nothing."""
    return true_to_the_poster(run, server_round, along, 0 if run == "attack-a" else step, curve)


def test_every_claim_holds_where_every_claim_was_planted(judged: Judged) -> None:
    assert {found.name: found.verdict for found in judged.answers} == dict.fromkeys(
        ["P1", "P2", "P3", "P4", "P5", "P6", "P6, defended federation", "P7", "P8"], "holds"
    )
    assert answer(judged, "P1").summary == "holds in (a), (b), (c)"
    assert answer(judged, "P3").summary == "holds"
    assert (judged.missing_runs, judged.missing) == ((), {})
    assert (judged.dataset, judged.profile, list(judged.origins)) == ("strokes", "quick", list(MEASURED_RUNS))
    assert judged.origins["attack-a"].seeds == (0, 1, 2)


def test_claims_are_asked_in_every_case_and_of_both_attack_sets(judged: Judged) -> None:
    asked = {found.name: [judgement.question.case for judgement in found.judgements] for found in judged.answers}
    thrice = ["a", "b", "c"]
    twice_each = [case for case in thrice for _ in range(2)]
    assert asked == {
        "P1": twice_each,
        "P2": thrice,
        "P3": ["", ""],
        "P4": ["a", "a", "b", "b"],
        "P5": ["c", "c"],
        "P6": twice_each,
        "P6, defended federation": twice_each,
        "P7": twice_each,
        "P8": thrice,
    }
    assert {found.claim for found in judged.answers} == set(CLAIMS)


def test_the_half_life_of_a_planted_backdoor_is_found(judged: Judged) -> None:
    judgement = answer(judged, "P1").judgements[0]
    _, half_life, rest = (row.estimate for row in judgement.rows)
    assert (half_life.value, half_life.low, half_life.high) == (20, 20, 20)
    assert rest.value == pytest.approx(0.6 * 2**-2.5, abs=1e-4)
    assert judgement.notes == ("last round: 131", "50 rounds after the attack observed")


def test_a_backdoor_that_is_gone_in_one_case_fails_persistence_there(tmp_path: Path) -> None:
    found = answer(judge_collection(made_up(tmp_path, gone_in_case_a)), "P1")
    assert (found.verdict, found.summary) == ("does not hold", "does not hold in (a); holds in (b), (c)")


def test_a_defense_that_leaves_the_backdoor_in_one_case_fails_only_there(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, defense_fails_in_case_a))
    assert answer(judged, "P6").summary == "does not hold in (a); holds in (b), (c)"
    assert answer(judged, "P6", "defended federation").verdict == "holds"


def test_the_defense_is_judged_at_50_local_steps_and_not_at_more(tmp_path: Path) -> None:
    def removed_by_80_steps(run: str, server_round: int, along: str, step: int, curve: str) -> float:
        return true_to_the_poster(run, server_round, along, step if step > 50 else 0, curve)

    found = answer(judge_collection(made_up(tmp_path, removed_by_80_steps)), "P6")
    assert found.verdict == "does not hold"
    assert found.judgements[0].notes == ("50 local steps of the matching network",)


def test_fine_tuning_is_compared_between_the_ordinary_steps_and_all_of_them(tmp_path: Path) -> None:
    def dampened(run: str, server_round: int, along: str, step: int, curve: str) -> float:
        return true_to_the_poster(run, 80 if step == 500 else server_round, along, step, curve)

    judged = judge_collection(made_up(tmp_path, dampened))
    assert [answer(judged, claim).verdict for claim in ("P4", "P5")] == ["does not hold", "does not hold"]
    assert answer(judged, "P4").judgements[0].notes == ("3 fine-tuning steps", "500 fine-tuning steps")


def test_an_attack_that_does_not_work_leaves_claims_undecided_and_says_so(tmp_path: Path) -> None:
    def no_backdoor(run: str, server_round: int, along: str, step: int, curve: str) -> float:
        return true_to_the_poster(run, 80, along, step, curve)

    judged = judge_collection(made_up(tmp_path, no_backdoor))
    for claim in ("P1", "P4", "P5", "P6", "P8"):
        found = answer(judged, claim)
        assert found.verdict == "undecided"
        assert "no backdoor was shown that the claim could be about" in found.judgements[0].notes


def test_a_defended_federation_is_judged_by_its_backdoor_without_local_training(tmp_path: Path) -> None:
    def never_took(run: str, server_round: int, along: str, step: int, curve: str) -> float:
        return true_to_the_poster(run, 80 if run.startswith("defended") else server_round, along, step, curve)

    found = answer(judge_collection(made_up(tmp_path, never_took)), "P6", "defended federation")
    assert found.verdict == "undecided"
    assert {judgement.rows[0].estimate.value for judgement in found.judgements} == {0.0}
    assert "no backdoor was shown that the claim could be about" in found.judgements[0].notes


def test_missing_runs_are_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, runs=["attack-a", "attack-b", "defended-a"]))
    assert judged.missing_runs == ("attack-c", *MEASURED_RUNS[3:6], "defended-b", "defended-c")
    persistence, fine_tuning = answer(judged, "P1"), answer(judged, "P4")
    assert (persistence.verdict, persistence.summary) == ("undecided", "holds in (a), (b); 2 comparisons lack results")
    assert (fine_tuning.verdict, fine_tuning.unanswered) == ("holds", 0)
    assert (answer(judged, "P5").verdict, answer(judged, "P5").summary) == ("undecided", "2 comparisons lack results")
    (without_c,) = [names for reason, names in judged.missing.items() if "expected a run 'attack-c'" in reason]
    assert {("P1", "case (c), backdoor, attack training"), ("P3", "backdoor, attack validation")} <= set(without_c)


def test_a_claim_that_fails_somewhere_fails_even_where_results_are_missing(tmp_path: Path) -> None:
    found = answer(judge_collection(made_up(tmp_path, gone_in_case_a, runs=["attack-a"])), "P1")
    assert (found.verdict, found.unanswered) == ("does not hold", 4)


def test_step_curves_that_were_not_measured_are_named(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, runs=["attack-a"], step_curves=["fine_tuning"]))
    assert answer(judged, "P4").judgements
    assert answer(judged, "P6").judgements == ()
    expected = "attack-a, round 'attack': expected matching at few steps (ordinary: 3, few: up to 50), found steps []"
    assert ("P6", "case (a), backdoor, attack training") in judged.missing[expected]


def test_one_seed_decides_nothing_and_says_so(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, seeds=[4]))
    assert {found.verdict for found in judged.answers} == {"undecided"}
    judgements = [judgement for found in judged.answers for judgement in found.judgements]
    assert all("one seed cannot decide" in judgement.notes for judgement in judgements)
    assert all("one seed: the interval is over its episodes alone" in found.notes for found in judged.controls)


def test_runs_are_compared_on_the_seeds_that_all_of_them_have(tmp_path: Path) -> None:
    write_runs(tmp_path, runs=["attack-a", "attack-b"], seeds=[0, 1, 2])
    write_runs(tmp_path, runs=["attack-c"], seeds=[1, 2, 3])
    (collection,) = collect(tmp_path)
    (found, _) = answer(judge_collection(collection), "P3").judgements
    assert found.notes == ("only on seeds 1, 2: the runs differ in theirs",)
    assert [row.estimate.seeds for row in found.rows] == [2, 2]


def test_runs_without_a_common_seed_are_named(tmp_path: Path) -> None:
    for seed, case in enumerate("abc"):
        write_runs(tmp_path, runs=[f"attack-{case}"], seeds=[seed])
    (collection,) = collect(tmp_path)
    judged = judge_collection(collection)
    (names,) = [names for reason, names in judged.missing.items() if "expected a seed that all" in reason]
    assert names == (("P3", "backdoor, attack training"), ("P3", "backdoor, attack validation"))


@pytest.mark.parametrize(
    ("text", "case", "measured", "expected"),
    [
        ("matching without local training: excess", "a", "backdoor, attack training", 60),
        ("matching without local training: excess", "c", "backdoor, attack validation", 30),
        ("matching without local training: accuracy minus undefended", "a", "meta-testing", 92 - 95),
        ("as many local steps with the head: excess", "b", "backdoor, attack training", 30),
        ("as many local steps with the head: accuracy minus undefended", "b", "main task", 94 - 95),
        ("clean model: accuracy with matching minus the head's", "c", "main task", 92 - 95),
        ("clean model: accuracy with matching minus the head's after as many steps", "c", "main task", 92 - 94),
        ("excess with boost factor 1", "a", "backdoor, attack training", 6),
        ("no attack: change from the first to the last round", "a", "meta-testing", 0),
        ("attacked minus no attack, at the end", "a", "backdoor, attack training", 60 * 2**-2.5),
        ("attacked minus without adversary, at the end", "a", "main task", 0),
        ("defended federation: accuracy minus undefended", "b", "meta-testing", 91 - 95),
    ],
)
def test_controls_are_the_planted_differences(
    judged: Judged, text: str, case: str, measured: str, expected: float
) -> None:
    found = control(judged, text, case, measured)
    assert 100 * found.estimate.value == pytest.approx(expected, abs=0.01)
    assert found.estimate.low == pytest.approx(found.estimate.high)


def test_the_benefit_kept_is_shown_where_local_training_only_was_measured(tmp_path: Path) -> None:
    def alone(run: str, server_round: int, along: str, step: int, curve: str) -> float:
        return 80 if along == "local_only" else true_to_the_poster(run, server_round, along, step, curve)

    text = "benefit kept: accuracy with rescue minus local training only"
    write_runs(tmp_path / "with", alone, step_curves=(*STEPS, "local_only"))
    found = control(judge_collection(collect(tmp_path / "with")[0]), text, "a", "meta-testing")
    assert found.estimate.value == pytest.approx(0.12)
    write_runs(tmp_path / "without")
    assert text not in [one.control.text for one in judge_collection(collect(tmp_path / "without")[0]).controls]


def test_runs_of_different_lengths_are_compared_in_the_last_round_of_both(tmp_path: Path) -> None:
    write_runs(tmp_path, runs=["attack-a"])
    write_runs(tmp_path, runs=["no-attack-a"], last_round=101)
    (collection,) = collect(tmp_path)
    judged = judge_collection(collection)
    found = control(judged, "attacked minus no attack, at the end", "a", "backdoor, attack training")
    assert 100 * found.estimate.value == pytest.approx(30)
    assert found.notes == ("last round of both: 101",)
    change = control(judged, "no attack: change from the first to the last round", "a", "main task")
    assert change.notes == ("last round: 101", "first round: 80")
