"""A few trials of each kind; the long series is a command, see `integration.kill_trials`."""

from pathlib import Path

import pytest
from integration.kill_trials import Series

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("engine", "kills"), [("in-process", 6), pytest.param("simulation", 2, marks=pytest.mark.long)]
)
def test_a_run_that_is_killed_at_random_and_resumed_gives_the_bytes_of_an_undisturbed_one(
    engine: str, kills: int, tmp_path: Path
) -> None:
    rounds = {"num-server-rounds": 8}  # the attack is in round 5, and late updates are carried over every checkpoint
    outcome = Series(engine, tmp_path, seed=5, **rounds).run(kills)
    assert sum(outcome.kills.values()) == kills
    assert outcome.completed >= 1
    assert outcome.different == 0
