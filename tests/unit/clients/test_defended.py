"""Clients that match: what they exchange, what they keep, and that it survives a restart."""

from pathlib import Path

import numpy as np
import pytest
from unit.small_federation import SMALL, RunConfigs, bits, client_of, same

from clients import Adversary, BenignClient, DefendedClient
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning.matching_network import MatchingNetwork
from fedmeta_flwr.learning.models import get_arrays


@pytest.fixture
def federation(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Return a small defended federation."""
    cache = tmp_path_factory.getbasetemp() / "strokes"
    return run_config(**SMALL, defense="federation", cache_dir=str(cache))


@pytest.fixture
def rescue(run_config: RunConfigs, federation: RunConfig) -> RunConfig:
    return run_config(**SMALL, defense="rescue", cache_dir=federation.cache_dir)


def attention_of(client: BenignClient) -> dict[str, np.ndarray]:
    assert isinstance(client.model, MatchingNetwork)
    return get_arrays(client.model.attention)


def memory_file(folder: Path) -> Path:
    return folder / "client-1.safetensors"


def test_benign_clients_of_a_defense_are_defended_and_the_adversary_is_not(
    federation: RunConfig, rescue: RunConfig, tmp_path: Path
) -> None:
    for config in (federation, rescue):
        assert [type(client_of(config, tmp_path, i)) for i in range(4)] == [Adversary, *[DefendedClient] * 3]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("partition_id", [0, 1])
def test_only_the_embedding_is_exchanged(federation: RunConfig, tmp_path: Path, partition_id: int) -> None:
    client = client_of(federation, tmp_path, partition_id)
    assert isinstance(client.model, MatchingNetwork)
    embedding = [tuple(parameter.shape) for parameter in client.model.embedding.parameters()]
    assert embedding == [(8, 1, 3, 3), (8,), (8,), *[(8, 8, 3, 3), (8,), (8,)] * 3]
    names = list(client.shared.state_dict())
    assert not [name for name in names if "attention" in name or "head" in name]
    start = client.get_parameters({})
    assert [array.shape for array in start] == embedding
    updated, _, _ = client.fit(start, {"server-round": federation.attack_round})
    assert [array.shape for array in updated] == embedding
    assert not any((new == old).all() for new, old in zip(updated, start, strict=True))


def test_the_attention_is_trained_and_recalled_by_a_new_client(federation: RunConfig, tmp_path: Path) -> None:
    client = client_of(federation, tmp_path)
    start, before = client.get_parameters({}), attention_of(client)
    assert (before["weight"] == 1).all()
    client.fit(start, {"server-round": 1})
    trained = attention_of(client)
    assert (trained["weight"] != before["weight"]).any()
    assert trained["log_temperature"] != before["log_temperature"]

    restarted = client_of(federation, tmp_path)
    assert bits(attention_of(restarted)) == bits(before)
    restarted.evaluate(start, {"server-round": 1})
    assert bits(attention_of(restarted)) == bits(trained)


def test_a_restart_between_rounds_changes_no_bit(federation: RunConfig, tmp_path: Path) -> None:
    lasting = client_of(federation, tmp_path / "lasting")
    kept = fresh = lasting.get_parameters({})
    for server_round in (1, 2):
        kept, *kept_rest = lasting.fit(kept, {"server-round": server_round})
        fresh, *fresh_rest = client_of(federation, tmp_path / "fresh").fit(fresh, {"server-round": server_round})
        assert same(kept, fresh)
        assert kept_rest == fresh_rest
    restarted = client_of(federation, tmp_path / "fresh")
    assert lasting.evaluate(kept, {"server-round": 2}) == restarted.evaluate(fresh, {"server-round": 2})
    assert memory_file(tmp_path / "lasting").read_bytes() == memory_file(tmp_path / "fresh").read_bytes()


def test_the_recalled_attention_matters_in_the_next_round(federation: RunConfig, tmp_path: Path) -> None:
    client = client_of(federation, tmp_path / "a")
    first, _, _ = client.fit(client.get_parameters({}), {"server-round": 1})
    second, _, _ = client.fit(first, {"server-round": 2})
    assert not same(client_of(federation, tmp_path / "b").fit(first, {"server-round": 2})[0], second)


def test_an_evaluation_changes_neither_memory_nor_model(federation: RunConfig, tmp_path: Path) -> None:
    client = client_of(federation, tmp_path)
    updated, _, _ = client.fit(client.get_parameters({}), {"server-round": 1})
    before, model = memory_file(tmp_path).read_bytes(), bits(get_arrays(client.model))
    first = client.evaluate(updated, {"server-round": 1})
    assert client.evaluate(updated, {"server-round": 1}) == first
    assert memory_file(tmp_path).read_bytes() == before
    assert bits(get_arrays(client.model)) == model
    assert [path.name for path in tmp_path.iterdir()] == ["client-1.safetensors"]


def test_an_evaluation_before_any_training_leaves_no_memory(federation: RunConfig, tmp_path: Path) -> None:
    client = client_of(federation, tmp_path)
    client.evaluate(client.get_parameters({}), {"server-round": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_is_asked_for_again_gives_the_same_answer(federation: RunConfig, tmp_path: Path) -> None:
    start = client_of(federation, tmp_path).get_parameters({})
    once = [client_of(federation, tmp_path).fit(start, {"server-round": r, "oldest-round": 1})[0] for r in (1, 2, 3)]
    again = [client_of(federation, tmp_path).fit(start, {"server-round": r, "oldest-round": 2})[0] for r in (2, 3)]
    for found, expected in zip(again, once[1:], strict=True):
        assert same(found, expected)
    fresh, _, _ = client_of(federation, tmp_path / "fresh").fit(start, {"server-round": 2})
    assert not same(fresh, once[1])  # what it kept after round 1 makes a difference


def test_what_was_kept_in_another_run_is_ignored_also_before_any_training(
    federation: RunConfig, tmp_path: Path
) -> None:
    earlier = client_of(federation, tmp_path)
    start, initial = earlier.get_parameters({}), attention_of(earlier)
    earlier.fit(start, {"server-round": 1, "run": "a"})
    kept = attention_of(earlier)
    assert bits(kept) != bits(initial)
    for run, expected in (("a", kept), ("b", initial)):
        client = client_of(federation, tmp_path)
        client.evaluate(start, {"server-round": 1, "run": run})
        assert bits(attention_of(client)) == bits(expected)
    found, _, _ = client_of(federation, tmp_path).fit(start, {"server-round": 2, "run": "b"})
    fresh, _, _ = client_of(federation, tmp_path / "fresh").fit(start, {"server-round": 2, "run": "b"})
    assert same(found, fresh)
    assert memory_file(tmp_path).read_bytes() == memory_file(tmp_path / "fresh").read_bytes()


@pytest.mark.parametrize("strategy_config", [{}, {"proximal-mu": 0.5}])
def test_a_rescue_trains_as_an_undefended_client_does(
    run_config: RunConfigs, rescue: RunConfig, tmp_path: Path, strategy_config: dict[str, bool | int | float | str]
) -> None:
    undefended = run_config(**SMALL, defense="none", cache_dir=rescue.cache_dir)
    arrays = client_of(undefended, tmp_path).get_parameters({})
    plain = client_of(undefended, tmp_path).fit(arrays, {"server-round": 1, **strategy_config})
    defended = client_of(rescue, tmp_path).fit(arrays, {"server-round": 1, **strategy_config})
    assert same(defended[0], plain[0])
    assert defended[1:] == plain[1:]
    assert not same(plain[0], arrays)
    assert list(tmp_path.iterdir()) == []


def test_a_rescue_classifies_by_matching_whatever_the_head(rescue: RunConfig, tmp_path: Path) -> None:
    client = client_of(rescue, tmp_path)
    arrays = client.get_parameters({})
    names = list(client.shared.state_dict())
    other_head = [
        array + 5 * np.arange(array.size, dtype=np.float32).reshape(array.shape) if name.startswith("head.") else array
        for name, array in zip(names, arrays, strict=True)
    ]
    assert not same(other_head, arrays)
    assert client.evaluate(other_head, {"server-round": 1}) == client.evaluate(arrays, {"server-round": 1})
    other_embedding = [
        array if name.startswith("head.") else np.roll(array, 1) for name, array in zip(names, arrays, strict=True)
    ]
    assert client.evaluate(other_embedding, {"server-round": 1}) != client.evaluate(arrays, {"server-round": 1})
    assert list(tmp_path.iterdir()) == []
