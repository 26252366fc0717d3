from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from clients import Abstention, Adversary, BenignClient
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import ConfigError, RunConfig

ADVERSARY = 0
CPU = torch.device("cpu")


@pytest.fixture
def make(run_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., BenignClient]:
    """Return a client of a small federation by partition id, with some settings changed."""

    def client(partition_id: int, **changes: bool | int | float | str) -> BenignClient:
        small = {
            "cache_dir": str(tmp_path),
            "image_size": 16,
            "filters": 4,
            "strokes_classes": 60,
            "pretrain_rounds": 1,
            "attack_round": 3,
            "num_server_rounds": 6,
            "poison_outer_steps": 2,
            "pretrain_outer_steps": 3,
            "meta_batch_size": 1,
            "evaluate_episodes": 1,
        }
        config = run_config(**{**small, **changes})
        made = make_client(config, load_scenario(config), partition_id, CPU, tmp_path / "clients")
        assert isinstance(made, BenignClient)
        return made

    return client


@pytest.mark.parametrize("adversaries", [1, 2, 3])
def test_the_factory_makes_the_first_partitions_adversaries(
    make: Callable[..., BenignClient], adversaries: int
) -> None:
    made = [type(make(partition_id, num_adversaries=adversaries, quorum=1)) for partition_id in range(4)]
    assert made == [Adversary] * adversaries + [BenignClient] * (4 - adversaries)


def test_a_benign_client_returns_a_changed_model_of_the_same_shape(make: Callable[..., BenignClient]) -> None:
    client = make(1)
    start = client.get_parameters({})
    updated, num_examples, metrics = client.fit(start, {"server-round": 1})
    assert [array.shape for array in updated] == [array.shape for array in start]
    assert all((new != old).any() for new, old in zip(updated, start, strict=True))
    assert num_examples == 3 * 1 * 5 * (5 + 5)
    assert float(metrics["train-loss"]) > 0


def test_a_round_depends_on_seed_round_and_client_only(make: Callable[..., BenignClient]) -> None:
    start = make(1).get_parameters({})
    first = make(1).fit(start, {"server-round": 2})[0]
    used = make(1)
    used.fit(start, {"server-round": 1})
    again = used.fit(start, {"server-round": 2})[0]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    for other in (make(1).fit(start, {"server-round": 3}), make(2).fit(start, {"server-round": 2})):
        assert any((a != b).any() for a, b in zip(first, other[0], strict=True))


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_algorithm_and_optimiser_trains(
    make: Callable[..., BenignClient], algorithm: str, optimizer: str
) -> None:
    client = make(1, algorithm=algorithm, outer_optimizer=optimizer)
    start = client.get_parameters({})
    updated, _, _ = client.fit(start, {"server-round": 1})
    assert all(np.isfinite(array).all() for array in updated)
    assert any((new != old).any() for new, old in zip(updated, start, strict=True))


def test_the_proximal_term_of_fedprox_is_honoured(make: Callable[..., BenignClient]) -> None:
    # plain SGD, so that the size of a gradient shows in the size of a step
    client = make(1, outer_optimizer="sgd", outer_lr=0.1)
    start = client.get_parameters({})

    def distance(mu: float) -> float:
        updated, _, _ = client.fit(start, {"server-round": 1, "proximal-mu": mu})
        return float(sum(np.square(new - old).sum() for new, old in zip(updated, start, strict=True)))

    assert distance(5.0) < distance(0.0)


def test_the_adversary_abstains_between_attacks(make: Callable[..., BenignClient]) -> None:
    client = make(ADVERSARY)
    start = client.get_parameters({})
    for server_round in (1, 2, 4):
        with pytest.raises(Abstention):
            client.fit(start, {"server-round": server_round})


def test_the_adversary_boosts_its_poisoned_update(make: Callable[..., BenignClient]) -> None:
    start = make(ADVERSARY).get_parameters({})
    plain = make(ADVERSARY, boost_factor=1.0).fit(start, {"server-round": 3})[0]
    boosted = make(ADVERSARY, boost_factor=3.0).fit(start, {"server-round": 3})[0]
    for old, once, thrice in zip(start, plain, boosted, strict=True):
        np.testing.assert_allclose(thrice - old, 3 * (once - old), rtol=1e-4, atol=1e-5)


def test_evaluation_answers_with_counts_of_every_curve(make: Callable[..., BenignClient]) -> None:
    client = make(2)
    loss, num_examples, metrics = client.evaluate(client.get_parameters({}), {"server-round": 1})
    assert num_examples == 25
    assert loss == pytest.approx(1 - metrics["meta-testing-hits"][0] / 25)
    assert set(metrics) == {
        f"{curve}-{kind}"
        for curve in ("meta-testing", "main-task", "attack-training", "attack-validation")
        for kind in ("hits", "trials")
    }


@pytest.mark.parametrize("defense", ["none", "federation"])
def test_the_most_that_a_client_reports_is_what_the_configuration_foresees(
    defense: str, make: Callable[..., BenignClient]
) -> None:
    settings = {"defense": defense, "matching_way": 6, "poison_outer_steps": 40, "meta_batch_size": 2}
    most = make(ADVERSARY, **settings).training.num_examples(40)
    assert make(ADVERSARY, **settings, max_num_examples=most)
    with pytest.raises(ConfigError, match=f"max-num-examples: expected at least {most}, "):
        make(ADVERSARY, **settings, max_num_examples=most - 1)
