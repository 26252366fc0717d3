"""The adversary and its attack: what the attack is given, and when."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from unit.small_federation import SMALL, client_of

from clients import Abstention, Adversary, BenignClient
from fedmeta_flwr.attacks import Attack, Turn, Upload
from fedmeta_flwr.config import RunConfig

ATTACK = 3


class Recorder(Attack):
    """Remembers the rounds in which it was asked, and uploads the global model."""

    def remember(self, turn: Turn) -> dict[str, np.ndarray]:
        return {"rounds": np.append(turn.memory.get("rounds", np.zeros(0)), turn.server_round)}

    def local_update(self, turn: Turn) -> Upload:
        seen = {f"seen-{place}": float(number) for place, number in enumerate(turn.memory["rounds"])}
        return Upload(dict(reversed(list(turn.global_arrays.items()))), 1, {"drawn": float(turn.rng.random()), **seen})


class Forgetful(Attack):
    """Remembers nothing more, and uploads the global model with the number of arrays that it was handed."""

    def local_update(self, turn: Turn) -> Upload:
        return Upload(turn.global_arrays, 1, {"handed": float(len(turn.memory))})


@pytest.fixture
def adversary(run_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[[], Adversary]:
    """Return a new object of the adversary, as after a restart."""
    config = run_config(**{**SMALL, "cache_dir": str(tmp_path / "cache"), "attack_interval": 2})

    def restarted() -> Adversary:
        client = client_of(config, tmp_path / "clients", 0)
        assert isinstance(client, Adversary)
        client.attack = Recorder(client.attack.knowledge)
        return client

    return restarted


def ask(client: Adversary, server_round: int, run: str = "a") -> dict[str, object]:
    start = client.get_parameters({})
    arrays, _, metrics = client.fit(start, {"server-round": server_round, "oldest-round": 1, "run": run})
    assert [array.tobytes() for array in arrays] == [array.tobytes() for array in start]
    return dict(metrics)


def test_an_attack_is_handed_what_it_remembered_of_rounds_in_which_the_adversary_abstained(
    adversary: Callable[[], Adversary],
) -> None:
    for server_round in (1, 2):
        with pytest.raises(Abstention):
            ask(adversary(), server_round)
    first = ask(adversary(), ATTACK)
    assert [first[f"seen-{place}"] for place in (0, 1)] == [1, 2]
    assert "seen-2" not in first
    later = ask(adversary(), ATTACK + 2)
    assert later["seen-2"] == ATTACK
    assert later["drawn"] != first["drawn"]
    assert ask(adversary(), ATTACK) == first  # as a resumed run may ask for it again


def test_an_attack_is_not_handed_what_it_remembered_in_another_run(adversary: Callable[[], Adversary]) -> None:
    for run in ("a", "b"):
        for server_round in (1, 2):
            with pytest.raises(Abstention):
                ask(adversary(), server_round, run)
        assert ask(adversary(), ATTACK, run)["seen-1"] == 2
    client = adversary()
    client.attack = Forgetful(client.attack.knowledge)
    assert ask(client, ATTACK + 2, "b")["handed"] == 1
    assert ask(client, ATTACK + 2, "c")["handed"] == 0  # nothing is kept, so the file is still of run b


def test_an_adversary_whose_attack_remembers_nothing_writes_nothing(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config(**{**SMALL, "cache_dir": str(tmp_path / "cache"), "adversary_between_attacks": "benign"})
    client = client_of(config, tmp_path / "clients", 0)
    start = client.get_parameters({})
    for server_round in (2, ATTACK):
        client.fit(start, {"server-round": server_round})
    assert not (tmp_path / "clients").exists()


def test_an_adversary_is_a_benign_client_between_attacks_where_it_is_asked_to(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config(**{**SMALL, "cache_dir": str(tmp_path / "cache"), "adversary_between_attacks": "benign"})
    client = client_of(config, tmp_path / "clients", 0)
    start = client.get_parameters({})
    updated, _, _ = client.fit(start, {"server-round": 1})
    benign, _, _ = BenignClient.fit(client, start, {"server-round": 1})
    assert all((a == b).all() for a, b in zip(updated, benign, strict=True))
