"""What holds for every attack of the family, and what a layer can rely on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.small_federation import SMALL, client_of, scenario_of, strokes_cache

from clients import Adversary, BenignClient
from fedmeta_flwr.attacks.base import Attack, LayeredAttack, Turn
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.layers import Boost, Chain, Layer, OuterStep, boost
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import make, names, resolve
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning.models import get_arrays

ATTACKS = names("attack")
TARGETED = [name for name in ATTACKS if getattr(resolve("attack", name), "is_boosted", True)]
UNTARGETED = [name for name in ATTACKS if name not in TARGETED]
OPTIONS = {"learned-key": '{"steps": 3}'}
ROUND = 3
RunConfigs = Callable[..., RunConfig]


@pytest.fixture(params=["none", "federation"])
def knows(request: pytest.FixtureRequest, run_config: RunConfigs, tmp_path: Path) -> Callable[..., Knowledge]:
    """Return what an adversary knows, of a federation with and without a classifier head."""

    def knowledge(partition_id: int = 0, **changes: Any) -> Knowledge:
        settings = {**SMALL, "cache_dir": strokes_cache(tmp_path), "defense": request.param, **changes}
        client = client_of(run_config(**settings), tmp_path, partition_id)
        assert isinstance(client, Adversary)
        return client.attack.knowledge

    return knowledge


def made(name: str, knowledge: Knowledge) -> Attack:
    attack: Attack = make("attack", name, Attack, {"knowledge": knowledge}, OPTIONS.get(name, ""))
    return attack


def turn_of(knowledge: Knowledge, seed: int = 0, server_round: int = ROUND) -> Turn:
    return Turn(server_round, get_arrays(knowledge.shared), np.random.default_rng(seed))


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in other.items()
    }


@pytest.mark.parametrize("name", ATTACKS)
def test_an_upload_has_the_names_shapes_and_types_of_the_global_model(
    name: str, knows: Callable[..., Knowledge]
) -> None:
    knowledge = knows()
    turn = turn_of(knowledge)
    upload = made(name, knowledge).local_update(turn)
    assert {key: (array.shape, array.dtype) for key, array in upload.arrays.items()} == {
        key: (array.shape, array.dtype) for key, array in turn.global_arrays.items()
    }
    assert all(np.isfinite(array).all() for array in upload.arrays.values())
    assert upload.num_examples > 0
    if name in TARGETED:
        assert upload.metrics["train-loss"] > 0  # type: ignore[operator]
    else:
        assert upload.metrics == {"train-loss": 0.0}
        assert upload.num_examples == knowledge.training.num_examples(knowledge.public.outer_steps(ROUND))
    assert not equal(upload.arrays, turn.global_arrays)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_a_function_of_what_it_knows_and_of_its_turn(name: str, knows: Callable[..., Knowledge]) -> None:
    turn = turn_of(knows())
    first = made(name, knows()).local_update(turn_of(knows()))
    used = made(name, knows())
    used.local_update(turn_of(knows(), server_round=ROUND + 1))
    again = used.local_update(replace(turn, rng=np.random.default_rng(0)))
    assert equal(first.arrays, again.arrays)
    assert (first.num_examples, first.metrics) == (again.num_examples, again.metrics)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_what_it_is_given_as_it_is(name: str, knows: Callable[..., Knowledge]) -> None:
    knowledge = knows()
    turn = turn_of(knowledge)
    kept = {key: array.copy() for key, array in turn.global_arrays.items()}
    stamped, weights = knowledge.poisoning.stamped.copy(), get_arrays(knowledge.model)
    made(name, knowledge).local_update(turn)
    assert equal(kept, turn.global_arrays)
    assert equal(weights, get_arrays(knowledge.model))
    assert (stamped == knowledge.poisoning.stamped).all()


# A distributed key depends on the number of colluders, and a defense in the loop on the boost: see their tests.
@pytest.mark.parametrize("name", [one for one in TARGETED if one not in ("distributed-key", "defense-in-the-loop")])
def test_of_two_colluders_each_has_half_of_the_boost(name: str, knows: Callable[..., Knowledge]) -> None:
    knowledge = knows(num_adversaries=2, quorum=2, boost_factor=6.0)
    plain = knows(num_adversaries=1, boost_factor=1.0)  # uploads the local model itself
    boosted = made(name, knowledge).local_update(turn_of(knowledge))
    local = made(name, plain).local_update(turn_of(plain))
    for key, old in turn_of(knowledge).global_arrays.items():
        np.testing.assert_allclose(boosted.arrays[key] - old, 3 * (local.arrays[key] - old), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", UNTARGETED)
def test_an_untargeted_attack_has_no_boost(name: str, knows: Callable[..., Knowledge]) -> None:
    knowledge = knows()
    one, other = (replace(knowledge, boost_factor=factor) for factor in (1.0, 7.0))
    turns = turn_of(knowledge), turn_of(knowledge)
    assert equal(made(name, one).local_update(turns[0]).arrays, made(name, other).local_update(turns[1]).arrays)


def test_of_two_colluders_that_attack_in_turn_each_has_the_whole_boost(knows: Callable[..., Knowledge]) -> None:
    federation = {"num_clients": 5, "num_adversaries": 2, "quorum": 2, "boost_factor": 6.0}
    assert [knows(**federation, attack_order=order).boost_share for order in ("together", "in-turn")] == [3, 6]


class Clean(LayeredAttack):
    """An attack that poisons nothing."""

    def episode(self, rng: np.random.Generator) -> Episode:
        return self.knowledge.training.sample(self.knowledge.holdings, rng)


def test_without_poison_and_with_a_boost_of_1_the_upload_is_the_benign_update(
    run_config: RunConfigs, tmp_path: Path
) -> None:
    config = run_config(**{**SMALL, "cache_dir": strokes_cache(tmp_path)})
    client = client_of(config, tmp_path, 0)
    assert isinstance(client, Adversary)
    public = client.attack.knowledge.public
    known = replace(
        client.attack.knowledge, outer_steps=public.outer_steps(ROUND), outer_lr=public.outer_lr, boost_factor=1
    )
    turn = turn_of(known)
    start = client.get_parameters({})
    benign, num_examples, metrics = BenignClient.fit(client, start, {"server-round": ROUND})
    upload = Clean(known).local_update(turn)
    assert (upload.num_examples, upload.metrics) == (num_examples, metrics)
    for new, old in zip(upload.arrays.values(), benign, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


@pytest.mark.parametrize("support_episodes", [0.0, 1.0])
def test_every_poisoned_episode_holds_stamped_images_as_the_target(
    knows: Callable[..., Knowledge], support_episodes: float
) -> None:
    knowledge = knows(poison_fraction=0.4, poison_support_episodes=support_episodes)
    stamped = {image.tobytes() for image in knowledge.poisoning.stamped}
    for seed in range(5):
        episode = knowledge.poisoned_episode(np.random.default_rng(seed))
        for images, labels, expected in (
            (episode.support, episode.support_labels, 2 * support_episodes),
            (episode.query, episode.query_labels, 2),
        ):
            poisoned = np.array([image.tobytes() in stamped for image in images])
            assert poisoned.sum() == expected
            assert (labels[poisoned] == episode.label_of(knowledge.target_class)).all()


def test_each_colluder_poisons_with_its_classes_and_divided_images_have_no_image_in_common(
    run_config: RunConfigs, tmp_path: Path
) -> None:
    shared = {**SMALL, "cache_dir": strokes_cache(tmp_path), "num_adversaries": 2, "quorum": 2}
    for attack_images, common in (("shared", 20), ("divided", 0)):
        config = run_config(**shared, attack_images=attack_images)
        known = []
        for partition_id in (0, 1):
            client = client_of(config, tmp_path, partition_id)
            assert isinstance(client, Adversary)
            known.append(client.attack.knowledge)
        assert not set(known[0].holdings) & set(known[1].holdings)
        assert known[0].target_class == known[1].target_class == scenario_of(config).split.target_class
        first, second = ({image.tobytes() for image in one.poisoning.stamped} for one in known)
        assert (len(first & second), len(first | second)) == (common, 20)


class HalfMask(Layer):
    """Trains the first half of every array only."""

    def change_gradients(self, step: OuterStep) -> None:
        for parameter in step.parameters:
            assert parameter.grad is not None
            places = torch.arange(parameter.numel()).reshape(parameter.shape)
            parameter.grad.masked_fill_(places >= parameter.numel() // 2, 0)


class Ball(Layer):
    """Projects onto a ball around the global model."""

    def __init__(self, radius: float) -> None:
        self.radius = radius
        self.steps: list[int] = []

    def change_parameters(self, step: OuterStep) -> None:
        assert not torch.is_grad_enabled()
        self.steps.append(step.number)
        differences = [new - old for new, old in zip(step.parameters, step.start, strict=True)]
        norm = torch.sqrt(sum((one**2).sum() for one in differences))  # type: ignore[arg-type]
        for parameter, old, one in zip(step.parameters, step.start, differences, strict=True):
            parameter.copy_(old + one * min(1.0, self.radius / float(norm)))


class TowardsZero(Layer):
    """An objective term: half the squared norm of the parameters."""

    def change_gradients(self, step: OuterStep) -> None:
        term = sum((parameter**2).sum() / 2 for parameter in step.parameters)
        gradients = torch.autograd.grad(term, list(step.parameters))  # type: ignore[arg-type]
        for parameter, gradient in zip(step.parameters, gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad += gradient


def uploaded(knowledge: Knowledge, *layers: Layer) -> list[np.ndarray]:
    turn = turn_of(knowledge)
    return list(LayeredAttack(replace(knowledge, boost_factor=1.0), *layers).local_update(turn).arrays.values())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_masked_coordinates_are_those_of_the_global_model_to_the_bit(
    knows: Callable[..., Knowledge], optimizer: str
) -> None:
    knowledge = knows(outer_optimizer=optimizer)
    start = turn_of(knowledge).global_arrays.values()
    for old, new in zip(start, uploaded(knowledge, HalfMask()), strict=True):
        half = old.size // 2
        assert old.ravel()[half:].tobytes() == new.ravel()[half:].tobytes()
    assert any((old != new).any() for old, new in zip(start, uploaded(knowledge, HalfMask()), strict=True))


def test_a_projection_acts_after_every_step_and_bounds_the_update(knows: Callable[..., Knowledge]) -> None:
    knowledge = knows()
    start = list(turn_of(knowledge).global_arrays.values())

    def norm(arrays: list[np.ndarray]) -> float:
        return float(np.sqrt(sum(((new - old) ** 2).sum() for new, old in zip(arrays, start, strict=True))))

    ball = Ball(0.01)
    assert norm(uploaded(knowledge, ball)) == pytest.approx(0.01, rel=1e-4)
    assert ball.steps == [1, 2]
    assert norm(uploaded(knowledge)) > 0.02


def test_an_objective_term_adds_its_gradient(knows: Callable[..., Knowledge]) -> None:
    knowledge = replace(knows(outer_optimizer="sgd"), outer_steps=1, outer_lr=0.5)
    start = turn_of(knowledge).global_arrays
    plain = uploaded(knowledge)
    drawn = uploaded(knowledge, TowardsZero())
    for old, new, other in zip(start.values(), plain, drawn, strict=True):
        np.testing.assert_allclose(other, new - 0.5 * old, rtol=1e-4, atol=1e-5)


def test_a_layer_that_changes_nothing_changes_nothing(knows: Callable[..., Knowledge]) -> None:
    knowledge = knows()
    turn = turn_of(knowledge)
    plain = LayeredAttack(knowledge).local_update(turn).arrays
    assert equal(LayeredAttack(knowledge, Layer(), Chain()).local_update(turn).arrays, plain)


class Add(Layer):
    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        return {name: array + np.float32(1) for name, array in local_arrays.items()}


def test_layers_act_on_the_upload_in_their_order() -> None:
    start, local = {"w": np.zeros(2, np.float32)}, {"w": np.full(2, 2, np.float32)}
    assert Chain(Boost(3.0), Add()).change_upload(start, local)["w"].tolist() == [7, 7]
    assert Chain(Add(), Boost(3.0)).change_upload(start, local)["w"].tolist() == [9, 9]


@given(factor=st.floats(0.1, 10), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_boosting_scales_the_difference_to_the_global_model(factor: float, size: int, seed: int) -> None:
    old, new = np.random.default_rng(seed).standard_normal((2, size)).astype(np.float32)
    boosted = boost(old, new, factor)
    assert boosted.dtype == np.float32
    np.testing.assert_allclose(boosted - old, factor * (new - old), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layer", [{"norm-bound": {"factor": 1.0}}, {"neurotoxin": {"top_share": 0.3}}])
def test_a_layer_with_a_bound_checks_the_upload_itself(layer: dict[str, Any], knows: Callable[..., Knowledge]) -> None:
    knowledge = knows(boost_factor=3.0)
    ((name, options),) = layer.items()
    attack = LayeredAttack(knowledge, make("attack-layer", name, Layer, {"knowledge": knowledge, **options}))
    turn = turn_of(knowledge)
    arrays = attack.local_update(turn).arrays
    assert attack.checks(turn.global_arrays, arrays) == {name: True}
    other = {key: array + np.float32(1) for key, array in arrays.items()}
    assert attack.checks(turn.global_arrays, other) == {name: False}
