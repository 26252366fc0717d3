"""The local defense: a query is classified by matching its features with those of the client's support set.

No classifier head is shared, and the attention, the private part of a client, never leaves it.

Source: Chen, Golubchik & Paolieri 2020 (the defense); Vinyals et al. 2016, eq. 1 and 2 (matching networks: softmax
attention over cosine similarities). Differs from the latter: each feature has a learned weight, the softmax has a
learned temperature, and there are no full-context embeddings. The poster does not describe its attention in detail;
this form is our choice.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.config.registry import make
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning.batches import Batch, query_of, support_of
from fedmeta_flwr.learning.models import Embedding, seeded
from fedmeta_flwr.learning.proximal import ProximalTerm


class Attention(nn.Module):
    """The private part of a matching network: a weight per feature, and a temperature.

    Parameters
    ----------
    features : int
        Length of a feature vector.
    temperature : float
        Initial temperature, above 0; initial weights are 1. Its logarithm is learned, so that it stays above 0.
    """

    def __init__(self, features: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        """Return the logarithm of the attention (queries, support rows), given features (rows, features) of both."""
        similarity = functional.normalize(queries * self.weight) @ functional.normalize(support * self.weight).T
        return functional.log_softmax(similarity / self.log_temperature.exp(), dim=1)


def make_attention(
    name: str, options: str = "", *, features: int, temperature: float, generator: torch.Generator
) -> nn.Module:
    """Return the attention of a setting.

    Parameters
    ----------
    name : str
        ``"cosine"`` for `Attention`, or ``"module:attribute"`` of a callable that takes `features` and `temperature`,
        and returns a module with the interface of `Attention`.
    options : str
        Further arguments, as a JSON object; empty: none.
    features, temperature
        As in `Attention`.
    generator : torch.Generator
        Source of the seed with which PyTorch's global generator is seeded while the attention draws initial weights.

    Raises
    ------
    RegistryError
        If there is no such attention, or it cannot be used.
    """
    arguments = {"features": features, "temperature": temperature}
    attention: nn.Module = seeded(lambda: make("attention", name, nn.Module, arguments, options), generator)
    return attention


class MatchingNetwork(nn.Module):
    """An embedding, which may be shared, and an attention such as `Attention`, which is never shared."""

    def __init__(self, embedding: Embedding, attention: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.attention = attention

    def forward(self, support: Batch, queries: Tensor, batch_norm: str) -> Tensor:
        """Return the logarithm of each label's probability: the sum of the attention over its support rows.

        Parameters
        ----------
        support : Batch
            A support set with every label of 0..way-1.
        queries : Tensor
            Images, shape (rows, channels, height, width), in 0..1.
        batch_norm : str
            Statistics that normalise the queries; ``"support"``: those of the support set; ``"transductive"``: those of
            the queries.

        Returns
        -------
        Tensor
            Shape (rows, way), at most 0 except for rounding; its exponential sums to 1 over the labels.
        """
        support_features, query_features = self.features(support.images, queries, batch_norm)
        return self.label_probabilities(self.attention(query_features, support_features), support.labels)

    def label_probabilities(self, log_attention: Tensor, labels: Tensor) -> Tensor:
        """Return the logarithm of each label's probability, given an attention (rows, support rows) and its labels."""
        belongs = functional.one_hot(labels).to(log_attention.dtype)
        return torch.logsumexp(log_attention[:, :, None] + belongs.log(), dim=1)

    def features(self, support: Tensor, queries: Tensor, batch_norm: str) -> tuple[Tensor, Tensor]:
        """Return the features (rows, features) of support and query images, normalised as in `forward`."""
        if batch_norm == "transductive":
            return self.embedding(support), self.embedding(queries)
        together = self.embedding(torch.cat([support, queries]), reference_rows=len(support))
        return together[: len(support)], together[len(support) :]


def matching_loop(
    network: MatchingNetwork,
    meta_batches: Iterable[Sequence[Episode]],
    *,
    batch_norm: str,
    optimizer: torch.optim.Optimizer,
    proximal_mu: float = 0.0,
) -> float:
    """Train the embedding and the attention of a matching network in place, in training mode.

    Parameters
    ----------
    network : MatchingNetwork
        Changed in place.
    meta_batches : iterable of sequences of Episode
        Each is one step; its loss is the mean over its episodes of the queries' negative log-probability.
    batch_norm : str
        As in `MatchingNetwork.forward`.
    optimizer : torch.optim.Optimizer
        Over ``network.parameters()``.
    proximal_mu : float
        Weight of the `ProximalTerm` on the embedding, where theta_global is the embedding before training.

    Returns
    -------
    float
        Mean loss over all episodes, without the proximal term; 0 if it is negative due to rounding.
    """
    network.train()
    proximal = ProximalTerm(network.embedding.parameters(), proximal_mu)
    losses: list[float] = []
    for episodes in meta_batches:
        optimizer.zero_grad()
        for episode in episodes:
            loss = matching_loss(network, episode, batch_norm)
            (loss / len(episodes)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
        proximal.add_gradient()
        optimizer.step()
    return max(float(np.mean(losses)), 0.0)


def matching_loss(network: MatchingNetwork, episode: Episode, batch_norm: str) -> Tensor:
    """Return the mean negative log-probability of an episode's query labels."""
    device = next(network.embedding.parameters()).device
    query = query_of(episode, device)
    return functional.nll_loss(network(support_of(episode, device), query.images, batch_norm), query.labels)
