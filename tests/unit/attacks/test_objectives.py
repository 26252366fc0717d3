"""The objectives of attacks that hide or know the defense: their gradients, and what they are without their term."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from unit.small_federation import SMALL, RunConfigs, client_of

from clients import Adversary
from fedmeta_flwr.attacks.alignment import Alignment, AlignmentTerm
from fedmeta_flwr.attacks.base import LayeredAttack, Turn
from fedmeta_flwr.attacks.constrain_and_scale import ConstrainAndScale, Direction
from fedmeta_flwr.attacks.defense_in_the_loop import DefenseInTheLoop, SimulatedVictims
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.layers import Layer, OuterStep
from fedmeta_flwr.attacks.model_replacement import ModelReplacement
from fedmeta_flwr.attacks.objective import AttackEpisode, CleanMatching, ObjectiveTerm
from fedmeta_flwr.attacks.private_part_noise import NoisyMatching, PrivatePartNoise, noisy_parameters
from fedmeta_flwr.defenses import make_defense
from fedmeta_flwr.learning.models import get_arrays

ROUND = 3
SEED = 5
_MOVE = 1e-8  # small, so that few rectifiers change their side


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=["none", "federation"])
def knows(request: pytest.FixtureRequest, run_config: RunConfigs, tmp_path: Path) -> Knowledge:
    return knowledge_of(run_config, tmp_path, defense=request.param)


def knowledge_of(run_config: RunConfigs, folder: Path, **changes: Any) -> Knowledge:
    client = client_of(run_config(**{**SMALL, "cache_dir": str(folder), "image_size": 16, **changes}), folder, 0)
    assert isinstance(client, Adversary)
    client.model.to(torch.get_default_dtype())
    return client.attack.knowledge


def turn_of(knowledge: Knowledge) -> Turn:
    return Turn(ROUND, get_arrays(knowledge.shared), np.random.default_rng(SEED))


class Started:
    """A layer at some point of local training, and a way to look at its loss elsewhere."""

    def __init__(self, layer: Layer, knowledge: Knowledge, distance: float = 0.01) -> None:
        self.layer, self.knowledge = layer, knowledge
        model, shared = knowledge.model_with(turn_of(knowledge).global_arrays)
        self.model = model
        layer.begin(model, turn_of(knowledge))
        parameters = list(shared.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=distance)
        self.step = OuterStep(1, parameters, start)
        self.direction = [torch.randn(parameter.shape, generator=generator) for parameter in parameters]

    def gradient(self) -> float:
        """Return the derivative along the direction that the layer adds to gradients of 0."""
        for parameter in self.step.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.reset()
        self.layer.change_gradients(self.step)
        pairs = zip(self.step.parameters, self.direction, strict=True)
        return sum(float((parameter.grad * way).sum()) for parameter, way in pairs if parameter.grad is not None)

    def difference(self, loss: Callable[[], Tensor]) -> float:
        """Return the central difference of a loss along the direction."""
        values = []
        for sign in (1, -1):
            self._move(sign * _MOVE)
            self.reset()
            values.append(float(loss()))
            self._move(-sign * _MOVE)
        return (values[0] - values[1]) / (2 * _MOVE)

    def reset(self) -> None:
        """Let the layer draw the same numbers again."""
        self.layer.rng = np.random.default_rng(SEED)  # type: ignore[attr-defined]

    @torch.no_grad()
    def _move(self, distance: float) -> None:
        for parameter, way in zip(self.step.parameters, self.direction, strict=True):
            parameter.add_(way, alpha=distance)


TERMS: dict[str, Callable[[Knowledge], ObjectiveTerm]] = {
    "direction": lambda knowledge: Direction(knowledge, 0.3),
    "alignment": lambda knowledge: AlignmentTerm(knowledge, 1, 0, 0),
    "target-anchor": lambda knowledge: AlignmentTerm(knowledge, 0, 1, 0),
    "clean-anchor": lambda knowledge: AlignmentTerm(knowledge, 0, 0, 1),
    "all three": lambda knowledge: AlignmentTerm(knowledge, 0.5, 2, 1),
    "matching": lambda knowledge: CleanMatching(knowledge, 0.7),
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_adds_the_gradient_of_its_loss_which_is_not_zero(term: str, in_float64: None, knows: Knowledge) -> None:
    layer = TERMS[term](knows)
    started = Started(layer, knows)
    expected = started.difference(lambda: layer.loss(started.step))  # first, because a step trains the attention
    assert abs(expected) > 1e-6
    assert started.gradient() == pytest.approx(expected, rel=2e-4)


def test_private_part_noise_adds_the_gradient_of_its_stamped_loss(in_float64: None, knows: Knowledge) -> None:
    layer = NoisyMatching(knows, scale=0.2, draws=2, weight=1.0, matching=0.0)
    started = Started(layer, knows)
    found = started.gradient()
    assert abs(found) > 1e-6
    assert found == pytest.approx(started.difference(layer.stamped_loss), rel=2e-4)


def test_before_the_first_step_the_direction_has_no_gradient(knows: Knowledge) -> None:
    layer = Direction(knows, 0.5)
    started = Started(layer, knows, distance=0.0)
    assert started.gradient() == 0


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("steps", [(0,), (0, 1), (2,)])
def test_second_order_is_the_gradient_through_the_steps_of_the_simulated_client(
    steps: tuple[int, ...], optimizer: str, run_config: RunConfigs, tmp_path: Path, in_float64: None
) -> None:
    knowledge = knowledge_of(run_config, tmp_path, outer_optimizer=optimizer, matching_lr=0.01)
    term = AlignmentTerm(knowledge, 0, 0, 0)
    layer = SimulatedVictims(knowledge, make_defense("rescue"), steps, term, clean=0.5, second_order=True)
    started = Started(layer, knowledge)
    losses: list[Tensor] = []

    def loss() -> Tensor:
        losses.clear()
        recorded, layer.query_loss = layer.query_loss, recording  # type: ignore[method-assign]
        try:
            layer._through_steps(started.step)
        finally:
            layer.query_loss = recorded  # type: ignore[method-assign]
        return torch.stack(losses).sum()

    def recording(predicted: Tensor, episode: AttackEpisode) -> Tensor:
        losses.append(SimulatedVictims.query_loss(layer, predicted, episode))
        return losses[-1]

    assert started.gradient() == pytest.approx(started.difference(loss), rel=2e-3)


@pytest.mark.parametrize("defense", ["rescue", "none"])
def test_without_local_steps_first_order_is_the_gradient_at_the_aggregate(
    defense: str, run_config: RunConfigs, tmp_path: Path, in_float64: None
) -> None:
    knowledge = replace(knowledge_of(run_config, tmp_path), boost_factor=1.5)
    term = AlignmentTerm(knowledge, 1, 1, 1)
    layer = SimulatedVictims(knowledge, make_defense(defense), [0], term, clean=0.5)
    started = Started(layer, knowledge)

    def loss() -> Tensor:
        ((predict, episode),) = layer._stages(started.step)
        network: Any = predict.network  # type: ignore[attr-defined]
        return layer.query_loss(predict(layer._queries(episode)), episode) + term.loss_in(episode, network.embedding)

    assert layer.gain == 0.5
    assert started.gradient() == pytest.approx(started.difference(loss), rel=2e-4)


def test_the_simulated_aggregate_is_the_mean_of_a_round(run_config: RunConfigs, tmp_path: Path) -> None:
    knowledge = knowledge_of(run_config, tmp_path)
    layer = SimulatedVictims(knowledge, make_defense("rescue"), [0], AlignmentTerm(knowledge, 0, 0, 0))
    started = Started(layer, knowledge)
    others = [3 / 2 * moved for moved in layer._drift]  # the mean of two simulated benign updates of three
    for found, now, start, benign in zip(
        layer.aggregate(started.step), started.step.parameters, started.step.start, others, strict=True
    ):
        upload = start + 3 * (now - start)
        expected = (upload + 2 * (start + benign)) / 3
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


NEUTRAL: dict[str, Callable[[Knowledge], LayeredAttack]] = {
    "constrain-and-scale": lambda knowledge: ConstrainAndScale(knowledge, task_weight=1.0),
    "alignment": lambda knowledge: Alignment(knowledge, 0, 0, 0, 0),
    "private-part-noise": lambda knowledge: PrivatePartNoise(knowledge, weight=0, matching=0),
    "defense-in-the-loop": lambda knowledge: DefenseInTheLoop(knowledge, [], matching=0),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_with_a_neutral_parameter_an_attack_is_model_replacement_to_the_bit(name: str, knows: Knowledge) -> None:
    base = ModelReplacement(knows).local_update(turn_of(knows)).arrays
    found = NEUTRAL[name](knows).local_update(turn_of(knows)).arrays
    assert {key: array.tobytes() for key, array in found.items()} == {
        key: array.tobytes() for key, array in base.items()
    }


def test_without_noise_all_draws_are_the_attention_itself(knows: Knowledge) -> None:
    attention = knows.context.matching.new_attention(7)
    generator = torch.Generator().manual_seed(0)
    still = noisy_parameters(attention, 0.0, generator)
    for name, value in attention.named_parameters():
        assert torch.equal(still[name], value)
    moved = noisy_parameters(attention, 0.5, generator)
    assert (moved["weight"] > 0).all()
    assert not torch.equal(moved["weight"], attention.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (ConstrainAndScale, {"task_weight": 0}, "task_weight: expected above 0 and up to 1, found 0"),
        (Alignment, {"alignment": -1.0}, "alignment: expected a weight of 0 or above, found -1"),
        (Alignment, {"matching": np.inf}, "matching: expected a weight of 0 or above, found inf"),
        (PrivatePartNoise, {"draws": -1}, "draws: expected 0 or more, found -1"),
        (DefenseInTheLoop, {"steps": [2, 1]}, "steps: expected ascending whole numbers from 0, found \\[2, 1\\]"),
        (DefenseInTheLoop, {"steps": [4], "second_order": True}, "second_order: expected at most 3 steps"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(attack: Any, options: Any, message: str, knows: Knowledge) -> None:
    with pytest.raises(ValueError, match=message):
        attack(knows, **options)


@pytest.mark.parametrize("against", ["", "none", "rescue"])
def test_a_defense_in_the_loop_changes_the_upload(against: str, run_config: RunConfigs, tmp_path: Path) -> None:
    knowledge = knowledge_of(run_config, tmp_path)
    base = ModelReplacement(knowledge).local_update(turn_of(knowledge)).arrays
    attack = DefenseInTheLoop(knowledge, [0, 1], against=against)
    found = attack.local_update(turn_of(knowledge)).arrays
    assert any((array != base[key]).any() for key, array in found.items())
    assert all(np.isfinite(array).all() for array in found.values())
