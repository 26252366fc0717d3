"""Feature matching against values by hand, against a plain loop, and what it must not depend on."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning import matching_network as matching
from fedmeta_flwr.learning.batches import Batch, query_of, support_of
from fedmeta_flwr.learning.matching_network import Attention, MatchingNetwork, matching_loop, matching_loss
from fedmeta_flwr.learning.models import build_classifier

pytestmark = pytest.mark.usefixtures("double_precision")

CPU = torch.device("cpu")
MODES = ["support", "transductive"]


@pytest.fixture
def network() -> MatchingNetwork:
    """8 filters on 28 pixels make 32 features; weights that differ."""
    generator = torch.Generator().manual_seed(1)
    classifier = build_classifier("conv4", channels=1, image_size=28, filters=8, way=3, generator=generator)
    attention = Attention(classifier.embedding.features, 0.2)
    with torch.no_grad():
        attention.weight.copy_(torch.rand(32, generator=generator) + 0.5)
    return MatchingNetwork(classifier.embedding, attention)


def episode(seed: int = 0) -> Episode:
    """3-way 2-shot with 3 queries a class, of noise: nothing but memory can lower the loss."""
    rng = np.random.default_rng(seed)
    support, query = (rng.integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8) for rows in (6, 9))
    return Episode(support, np.arange(3).repeat(2), query, np.arange(3).repeat(3), np.arange(3))


def parameters(network: MatchingNetwork) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def mean_loss(network: MatchingNetwork, episodes: list[Episode], batch_norm: str = "support") -> float:
    return float(np.mean([matching_loss(network, drawn, batch_norm).item() for drawn in episodes]))


def gradients(network: MatchingNetwork, *episodes: Episode, batch_norm: str = "support") -> dict[str, Tensor]:
    """Return the gradient of the mean loss, by autograd."""
    names, values = zip(*network.named_parameters(), strict=True)
    loss = torch.stack([matching_loss(network, drawn, batch_norm) for drawn in episodes]).mean()
    return dict(zip(names, torch.autograd.grad(loss, values), strict=True))


def test_attention_is_the_softmax_of_weighted_cosines_by_hand() -> None:
    attention = Attention(2, temperature=0.5)
    with torch.no_grad():
        attention.weight.copy_(torch.tensor([2.0, 1.0]))
    # Weighted: the query (2, 1), the support rows (2, 0), (0, 3), (-4, -2); cosines 2/sqrt 5, 1/sqrt 5, -1.
    found = attention(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, -2.0]])).exp()
    powers = [math.exp(cosine / 0.5) for cosine in (2 / math.sqrt(5), 1 / math.sqrt(5), -1)]
    np.testing.assert_allclose(found.detach().numpy(), [[power / sum(powers) for power in powers]], rtol=1e-12)


def attention_of(network: MatchingNetwork) -> Attention:
    assert isinstance(network.attention, Attention)
    return network.attention


@pytest.mark.parametrize("batch_norm", MODES)
def test_probabilities_are_those_of_a_plain_loop_and_sum_to_1(network: MatchingNetwork, batch_norm: str) -> None:
    support, query = support_of(episode(), CPU), query_of(episode(), CPU)
    if batch_norm == "support":
        features = network.embedding(torch.cat([support.images, query.images]), reference_rows=6)
    else:
        features = torch.cat([network.embedding(support.images), network.embedding(query.images)])
    weight = attention_of(network).weight.detach().numpy()
    weighted = [row * weight for row in features.detach().numpy()]
    expected = np.zeros((9, 3))
    for i, asked in enumerate(weighted[6:]):
        for shown, label in zip(weighted[:6], support.labels.tolist(), strict=True):
            cosine = sum(asked * shown) / (math.sqrt(sum(asked**2)) * math.sqrt(sum(shown**2)))
            expected[i, label] += math.exp(cosine / 0.2)
        expected[i] /= expected[i].sum()
    found = network(support, query.images, batch_norm).exp().detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), np.ones(9), rtol=1e-12)
    loss = matching_loss(network, episode(), batch_norm).item()
    assert loss == pytest.approx(-np.log(expected[np.arange(9), query.labels.numpy()]).mean(), rel=1e-9)


@pytest.mark.parametrize("batch_norm", MODES)
def test_a_support_image_gets_its_label_at_a_low_temperature(network: MatchingNetwork, batch_norm: str) -> None:
    support = support_of(episode(), CPU)
    with torch.no_grad():
        attention_of(network).log_temperature.fill_(math.log(1e-4))
    probabilities = network(support, support.images, batch_norm).exp()
    assert (probabilities[torch.arange(6), support.labels] > 0.999).all()


@pytest.mark.parametrize("batch_norm", MODES)
def test_the_order_of_support_rows_does_not_matter(network: MatchingNetwork, batch_norm: str) -> None:
    support, query = support_of(episode(), CPU), query_of(episode(), CPU)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    shuffled = Batch(support.images[order], support.labels[order])
    torch.testing.assert_close(
        network(shuffled, query.images, batch_norm), network(support, query.images, batch_norm), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("scale", [0.01, 3.7, 1e4])
def test_a_common_scale_of_the_feature_weights_does_not_matter(network: MatchingNetwork, scale: float) -> None:
    support, query = support_of(episode(), CPU), query_of(episode(), CPU)
    before = network(support, query.images, "support")
    with torch.no_grad():
        attention_of(network).weight.mul_(scale)
    torch.testing.assert_close(network(support, query.images, "support"), before, rtol=1e-9, atol=1e-12)


def test_a_feature_of_weight_0_is_irrelevant() -> None:
    generator = torch.Generator().manual_seed(5)
    queries, support = torch.rand(4, 3, generator=generator), torch.rand(5, 3, generator=generator)
    other_queries, other_support = queries.clone(), support.clone()
    other_queries[:, 1], other_support[:, 1] = 100.0, -7.0
    attention = Attention(3, 0.1)
    assert not torch.allclose(attention(other_queries, other_support), attention(queries, support))
    with torch.no_grad():
        attention.weight[1] = 0.0
    torch.testing.assert_close(attention(other_queries, other_support), attention(queries, support))


def test_with_support_statistics_a_query_does_not_depend_on_the_others(network: MatchingNetwork) -> None:
    support, query = support_of(episode(), CPU), query_of(episode(), CPU)
    torch.testing.assert_close(
        network(support, query.images, "support")[4:5], network(support, query.images[4:5], "support")
    )
    transductive = network(support, query.images, "transductive")[4:5]
    assert not torch.allclose(transductive, network(support, query.images[4:6], "transductive")[:1])


@pytest.mark.parametrize("batch_norm", MODES)
def test_training_lowers_the_loss_on_fixed_episodes_and_changes_every_parameter(
    network: MatchingNetwork, batch_norm: str
) -> None:
    episodes = [episode(0), episode(1)]
    before, start = mean_loss(network, episodes, batch_norm), parameters(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    matching_loop(network, [episodes] * 20, batch_norm=batch_norm, optimizer=optimizer)
    assert mean_loss(network, episodes, batch_norm) < 0.5 * before
    for name, value in parameters(network).items():
        assert (value != start[name]).any(), name
    assert {"attention.weight", "attention.log_temperature", "embedding.blocks.0.conv.weight"} < set(start)


def test_a_step_takes_the_mean_over_its_episodes_and_the_loss_is_the_mean_over_all(network: MatchingNetwork) -> None:
    episodes, start = [episode(0), episode(1)], parameters(network)
    gradient = gradients(network, *episodes)
    expected = mean_loss(network, episodes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    loss = matching_loop(network, [episodes], batch_norm="support", optimizer=optimizer)
    assert loss == pytest.approx(expected, rel=1e-12)
    for name, value in parameters(network).items():
        np.testing.assert_allclose(value, start[name] - 0.5 * gradient[name].numpy(), rtol=1e-9, atol=1e-12)


def test_the_proximal_term_pulls_only_the_embedding_to_where_it_was(network: MatchingNetwork) -> None:
    # Twice theta - lr (g + mu (theta - theta_0)), with mu = 0 for the attention; the first pull is 0.
    lr, mu, by_hand = 0.1, 4.0, copy.deepcopy(network)
    start = {name: value.detach().clone() for name, value in by_hand.named_parameters()}
    losses = []
    for drawn in (episode(0), episode(1)):
        losses.append(matching_loss(by_hand, drawn, "support").item())
        gradient = gradients(by_hand, drawn)
        with torch.no_grad():
            for name, value in by_hand.named_parameters():
                pull = mu if name.startswith("embedding.") else 0.0
                value.copy_(value - lr * (gradient[name] + pull * (value - start[name])))
    free = copy.deepcopy(network)
    for trained, weight in ((network, mu), (free, 0.0)):
        optimizer = torch.optim.SGD(trained.parameters(), lr=lr)
        batches = [[episode(0)], [episode(1)]]
        loss = matching_loop(trained, batches, batch_norm="support", optimizer=optimizer, proximal_mu=weight)
        assert loss == pytest.approx(np.mean(losses), rel=1e-9)  # without the term
    expected, unpulled = parameters(by_hand), parameters(free)
    for name, found in parameters(network).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-9, atol=1e-12)
    assert not np.allclose(expected["embedding.blocks.0.conv.weight"], unpulled["embedding.blocks.0.conv.weight"])
    np.testing.assert_allclose(unpulled["attention.weight"], expected["attention.weight"], rtol=1e-12)


def test_a_loss_that_rounding_has_taken_below_0_is_reported_as_0(
    network: MatchingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `logsumexp` over the support rows of a label may round upwards; a server refuses a negative loss.
    below = next(network.parameters()).sum() * 0 - 1e-7
    monkeypatch.setattr(matching, "matching_loss", lambda *_: below)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert matching_loop(network, [[episode()]], batch_norm="support", optimizer=optimizer) == 0.0
