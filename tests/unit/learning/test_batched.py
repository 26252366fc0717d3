"""Several episodes at once, forced on a CPU, compared with one after the other."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from unit.custom_objects import Dropping, Linear

from examples.custom_embedding import SmallResNet
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning import batched, device
from fedmeta_flwr.learning.batches import query_of, support_of, together
from fedmeta_flwr.learning.conv_block import set_precision
from fedmeta_flwr.learning.evaluation import by_fine_tuning
from fedmeta_flwr.learning.fine_tuning import InnerLoop
from fedmeta_flwr.learning.fused import plain
from fedmeta_flwr.learning.meta_learning import meta_gradient, outer_loop
from fedmeta_flwr.learning.models import Classifier, Embedding, build_classifier

pytestmark = pytest.mark.usefixtures("double_precision")

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)
EMBEDDINGS = ["conv4", "conv4-pool"]
BATCH_NORMS = ["support", "transductive"]


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "_gains_from_batches", lambda _: True)


def forbid_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(batched, "vmap")


def classifier(embedding: str) -> Classifier:
    generator = torch.Generator().manual_seed(1)
    return build_classifier(
        embedding, channels=SHAPE[0], image_size=SHAPE[1], filters=4, way=3, generator=generator
    ).double()


def noise_episodes(number: int, query_shot: int = 3) -> list[Episode]:
    rng = np.random.default_rng(0)
    labels = [np.repeat(np.arange(3), shot) for shot in (2, query_shot)]
    pixels = [rng.integers(256, size=(number, len(rows), *SHAPE), dtype=np.uint8) for rows in labels]
    return [Episode(pixels[0][i], labels[0], pixels[1][i], labels[1], np.arange(3)) for i in range(number)]


def assert_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def assert_near(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def trained(model: Classifier, episodes: list[Episode], inner: InnerLoop, algorithm: str = "fomaml") -> list[Tensor]:
    learner = copy.deepcopy(model)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.5)
    torch.manual_seed(5)
    loss = outer_loop(learner, [episodes, episodes[::-1]], algorithm=algorithm, inner=inner, optimizer=optimizer)
    return [*learner.parameters(), torch.tensor(loss)]


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
@pytest.mark.parametrize("algorithm", ["fomaml", "reptile", "maml"])
def test_meta_gradients_are_those_of_the_loop(embedding: str, batch_norm: str, algorithm: str) -> None:
    model, episodes, inner = classifier(embedding), noise_episodes(3), InnerLoop(0.1, 2, batch_norm)
    before = copy.deepcopy(list(model.parameters()))
    found = batched.meta_gradients(model, episodes, algorithm, inner)
    for (gradients, loss), episode in zip(found, episodes, strict=True):
        expected, loss_in_loop = meta_gradient(model, episode, algorithm, inner)
        assert_near(gradients, expected)
        assert loss == pytest.approx(loss_in_loop, abs=1e-9)
    assert_equal(list(model.parameters()), before)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_precision_bfloat16_rounds_as_in_the_loop(embedding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda _: False)  # round, but sum up in 64 bits
    model, episodes, inner = classifier(embedding), noise_episodes(2), InnerLoop(0.1, 2, "support")
    set_precision(model, "bfloat16", embedding)
    found = batched.meta_gradients(model, episodes, "fomaml", inner)
    with plain():
        expected = [meta_gradient(model, episode, "fomaml", inner) for episode in episodes]
    for (ours, _), (theirs, _) in zip(found, expected, strict=True):
        assert_near(ours, theirs)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_an_outer_loop_in_groups_is_that_of_the_loop(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, episodes = classifier("conv4"), noise_episodes(3)
    sizes = []

    def recorded(model: nn.Module, group: Sequence[Episode], *arguments: Any) -> Any:
        sizes.append(len(group))
        return batched.meta_gradients(model, group, *arguments)

    monkeypatch.setattr("fedmeta_flwr.learning.meta_learning.meta_gradients", recorded)
    found = trained(model, episodes, InnerLoop(0.1, 2, "support", at_once))
    assert sizes == [min(at_once, 3)] * 2, "one group in each of two steps; an episode that remains goes to the loop"
    assert_near(found, trained(model, episodes, InnerLoop(0.1, 2, "support")))


def test_on_a_cpu_episodes_are_learned_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_batches(monkeypatch)
    model, episodes = classifier("conv4"), noise_episodes(2)
    found = trained(model, episodes, InnerLoop(0.1, 1, "support", 8))
    assert_equal(found, trained(model, episodes, InnerLoop(0.1, 1, "support")))


@pytest.mark.usefixtures("forced")
def test_episodes_of_different_shapes_are_learned_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_batches(monkeypatch)
    trained(
        classifier("conv4"), [*noise_episodes(1), *noise_episodes(1, query_shot=1)], InnerLoop(0.1, 1, "support", 8)
    )


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("batch_norm", BATCH_NORMS)
def test_logits_at_each_stage_are_those_of_the_loop(embedding: str, batch_norm: str) -> None:
    adapt = by_fine_tuning(classifier(embedding), InnerLoop(0.1, 9, batch_norm), [0, 1, 3])
    episodes = noise_episodes(3)
    supports, queries = [support_of(e, CPU) for e in episodes], [query_of(e, CPU).images for e in episodes]
    expected = [
        torch.stack([predict(images).detach() for predict in adapt(support)])
        for support, images in zip(supports, queries, strict=True)
    ]
    found = [predict(torch.stack(queries)).detach() for predict in adapt(together(supports))]
    assert len(found) == 3
    assert_near(list(torch.stack(found, dim=1)), expected)


class Sorting(Linear):
    """An embedding whose code depends on data: it treats dark images otherwise."""

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return super().forward(images if images.mean() > 0.2 else images.square())


def custom(kind: type[Embedding]) -> Classifier:
    torch.manual_seed(0)
    return Classifier(kind(channels=SHAPE[0], filters=4, image_size=SHAPE[1]), 3)


@pytest.mark.parametrize(("kind", "message"), [(Dropping, "called random operation"), (Sorting, "data-dependent")])
@pytest.mark.usefixtures("forced")
def test_a_network_that_vmap_refuses_is_trained_in_the_loop_with_the_same_draws(
    kind: type[Embedding], message: str
) -> None:
    model, episodes = custom(kind), noise_episodes(3)
    assert message in batched.obstacle(model, "support", SHAPE)
    found = trained(model, episodes, InnerLoop(0.1, 2, "support", 8))
    assert_equal(found, trained(model, episodes, InnerLoop(0.1, 2, "support")))


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("kind", [Linear, SmallResNet])
def test_a_custom_network_that_vmap_can_compute_learns_from_several_at_once(kind: type[Embedding]) -> None:
    model, episodes = custom(kind), noise_episodes(3)
    assert batched.episodes_at_once(model, InnerLoop(0.1, 2, "support", 8), SHAPE) == 8
    found = trained(model, episodes, InnerLoop(0.1, 2, "support", 8))
    assert_near(found, trained(model, episodes, InnerLoop(0.1, 2, "support")))


def test_a_trial_changes_neither_the_network_nor_random_states() -> None:
    model = custom(Dropping).eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert batched.obstacle(model, "transductive", SHAPE)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
