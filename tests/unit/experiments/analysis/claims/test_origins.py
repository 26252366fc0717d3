from experiments.analysis.claims.origins import origin_of
from fedmeta_flwr.records.results import RunResults


def made(revision: str, seconds: float, start: str | None = None) -> RunResults:
    record = {"git_revision": revision, "machine": {"cores": 2, "system": "Linux"}, "initial_model_digest": start}
    return RunResults(record, (), {"status": "completed", "seconds": seconds})


def test_time_is_added_and_what_seeds_share_is_said_once() -> None:
    first, second = "a" * 40, "b" * 39 + "-dirty"
    origin = origin_of({0: made(first, 90), 2: made(second, 60), 3: made(first, 30)})
    assert origin.seeds == (0, 2, 3)
    assert origin.revisions == (first, second)
    assert origin.describe() == "seeds 0, 2, 3; commit aaaaaaa, bbbbbbb-dirty; 3 min in all on 2 cores, Linux"


def test_the_processor_is_named_where_it_was_recorded() -> None:
    record = {"machine": {"cores": 2, "system": "Linux", "processor": "Some CPU, AVX2"}}
    assert origin_of({0: RunResults(record, (), None)}).describe().endswith("on 2 cores, Linux, Some CPU, AVX2")


def test_what_was_not_recorded_is_unknown() -> None:
    origin = origin_of({0: RunResults({}, (), None)})
    assert origin.describe() == "seeds 0; commit unknown; 0 min in all on an unknown machine"


def test_seeds_that_started_from_another_model_are_reported() -> None:
    attacked = {seed: made("a" * 40, 60, start) for seed, start in {0: "e3b0", 1: "5feb", 2: "6b86"}.items()}
    control = {seed: made("a" * 40, 60, start) for seed, start in {0: "d473", 1: "5feb", 3: "4e07"}.items()}
    origin = origin_of(control, attacked)
    assert origin.other_start == (0,)
    assert origin.describe().endswith("; went on from another model than the attacked run: seeds 0")


def test_a_start_that_was_not_recorded_is_not_another_one() -> None:
    assert origin_of({0: made("a" * 40, 60)}, {0: made("a" * 40, 60, "e3b0")}).other_start == ()
