from experiments.claims.origins import origin_of
from fedmeta_flwr.results import RunResults


def made(revision: str, seconds: float, cores: int = 2) -> RunResults:
    record = {"git_revision": revision, "machine": {"cores": cores, "system": "Linux"}}
    return RunResults(record, (), {"status": "completed", "seconds": seconds})


def test_time_is_added_and_what_seeds_share_is_said_once() -> None:
    first, second = "a" * 40, "b" * 39 + "-dirty"
    origin = origin_of({0: made(first, 90), 2: made(second, 60), 3: made(first, 30)})
    assert origin.seeds == (0, 2, 3)
    assert origin.revisions == (first, second)
    assert origin.describe() == "seeds 0, 2, 3; commit aaaaaaa, bbbbbbb-dirty; 3 min in all on 2 cores, Linux"


def test_what_was_not_recorded_is_unknown() -> None:
    origin = origin_of({0: RunResults({}, (), None)})
    assert origin.describe() == "seeds 0; commit unknown; 0 min in all on an unknown machine"
