"""The learned key: its gradient, what it changes, and what it is used for."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from unit.small_federation import bits

from fedmeta_flwr.attacks.base import Turn
from fedmeta_flwr.attacks.key import stamp
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.learned_key import LearnedKey, attack_loss, key_tensors
from fedmeta_flwr.attacks.model_replacement import ModelReplacement
from fedmeta_flwr.attacks.stamping import held_images
from fedmeta_flwr.learning import Adapt, get_arrays

Knows = Callable[..., Knowledge]
CPU = torch.device("cpu")


def turn_of(knowledge: Knowledge) -> Turn:
    return Turn(3, get_arrays(knowledge.shared), np.random.default_rng(0))


def adaptation(knowledge: Knowledge) -> Adapt:
    """Return how the attacker adapts the global model."""
    model, _ = knowledge.model_with(turn_of(knowledge).global_arrays)
    model.to(torch.get_default_dtype())
    defense = knowledge.public.defense
    return defense.adapt(defense.network(model, knowledge.context), knowledge.context)


@pytest.fixture
def _doubles() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_doubles")
@pytest.mark.parametrize("embedding", ["conv4", "conv4-pool"])
@pytest.mark.parametrize("defense", ["none", "rescue", "federation"])
@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_the_gradient_on_the_colours_is_that_of_finite_differences(
    knowledge_of: Knows, embedding: str, defense: str, batch_norm: str
) -> None:
    knowledge = knowledge_of(embedding=embedding, defense=defense, batch_norm=batch_norm)
    adapt, episode = adaptation(knowledge), knowledge.clean_episode(np.random.default_rng(1))
    colours, mask = key_tensors(knowledge.key, CPU)
    colours = colours * 0.5 + 0.2 * mask
    (slope,) = torch.autograd.grad(
        attack_loss(knowledge, adapt, episode, colours.requires_grad_(), mask), colours, retain_graph=False
    )
    assert (slope * (1 - mask) == 0).all()
    assert slope.abs().max() > 0
    direction = torch.from_numpy(np.random.default_rng(2).standard_normal(colours.shape)) * mask
    step = 1e-6
    ends = [
        attack_loss(knowledge, adapt, episode, colours.detach() + side * step * direction, mask).item()
        for side in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * direction).sum()), rel=1e-4, abs=1e-8)


def test_the_loss_is_that_of_the_images_as_they_are_stamped(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    colours, mask = key_tensors(knowledge.key, CPU)
    images = held_images(knowledge.training.images, knowledge.backdoor)
    stamped = torch.from_numpy(images) / 255 * (1 - mask) + colours * mask
    np.testing.assert_array_equal((stamped * 255).round().numpy().astype(np.uint8), stamp(images, knowledge.key))


def test_learning_lowers_the_attack_loss_at_the_global_model(knowledge_of: Knows) -> None:
    knowledge = knowledge_of(key_size=8)
    key = LearnedKey(knowledge, steps=15, rate=0.1).learned_key(turn_of(knowledge))
    adapt = adaptation(knowledge)
    episodes = [knowledge.clean_episode(np.random.default_rng(seed)) for seed in range(100, 106)]

    def loss(*tensors: torch.Tensor) -> float:
        return float(np.mean([attack_loss(knowledge, adapt, episode, *tensors).item() for episode in episodes]))

    assert loss(*key_tensors(key, CPU)) < loss(*key_tensors(knowledge.key, CPU))


def test_only_colours_within_the_mask_change_and_are_integers_of_opaque_pixels(knowledge_of: Knows) -> None:
    knowledge = knowledge_of(key_intensity=0.5)
    key, covered = LearnedKey(knowledge, steps=3, rate=0.1).learned_key(turn_of(knowledge)), knowledge.key.opacity > 0
    assert (key.opacity == covered).all()
    assert (key.pattern[:, ~covered] == knowledge.key.pattern[:, ~covered]).all()
    assert (key.pattern == np.rint(key.pattern)).all()
    assert key.pattern.min() >= 0
    assert key.pattern.max() <= 255
    assert (key.pattern[:, covered] != knowledge.key.pattern[:, covered]).any()


def test_a_step_is_of_the_given_share_of_the_range(knowledge_of: Knows) -> None:
    knowledge = knowledge_of(backdoor_key="dots-inverted")  # colours of 0
    key = LearnedKey(knowledge, steps=1, rate=0.2).learned_key(turn_of(knowledge))
    assert set(np.unique(key.pattern[:, knowledge.key.opacity > 0]).tolist()) <= {0.0, 51.0}


def test_without_steps_it_is_model_replacement_to_the_bit(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    uploads = [
        ModelReplacement(knowledge).local_update(turn_of(knowledge)),
        LearnedKey(knowledge, steps=0).local_update(turn_of(knowledge)),
    ]
    assert bits(dict(uploads[0].arrays)) == bits(dict(uploads[1].arrays))
    assert (uploads[1].key, uploads[1].metrics) == (None, uploads[0].metrics)


def test_it_trains_as_model_replacement_does_with_the_key_that_it_returns(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    upload = LearnedKey(knowledge, steps=2, rate=0.3).local_update(turn_of(knowledge))
    assert upload.key is not None
    by_hand = ModelReplacement(knowledge.stamping(upload.key)).local_update(turn_of(knowledge))
    assert bits(dict(upload.arrays)) == bits(dict(by_hand.arrays))
    assert bits(dict(upload.arrays)) != bits(dict(ModelReplacement(knowledge).local_update(turn_of(knowledge)).arrays))


@pytest.mark.parametrize("options", [{"steps": -1}, {"rate": 0.0}, {"rate": 1.5}])
def test_an_option_out_of_range_is_refused(knowledge_of: Knows, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="learned-key: expected steps of 0 or above, and rate above 0"):
        LearnedKey(knowledge_of(), **options)  # type: ignore[arg-type]
