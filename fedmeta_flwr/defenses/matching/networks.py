"""Matching networks of a rescued client: several together, with noise on the attention, or with random weights."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedmeta_flwr.learning import Batch, MatchingNetwork


class Ensemble(nn.Module):
    """Several matching networks; a label's log-probability is the mean of theirs, up to normalisation."""

    def __init__(self, members: Sequence[MatchingNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, support: Batch, queries: Tensor, batch_norm: str) -> Tensor:
        """Return the mean of the members' log-probabilities (rows, way); parameters are those of a member."""
        return torch.stack([member(support, queries, batch_norm) for member in self.members]).mean(dim=0)


def with_noise(network: MatchingNetwork, deviation: float, generator: torch.Generator) -> MatchingNetwork:
    """Return a network with the same embedding, and log-normal factors on the attention's weight.

    Parameters
    ----------
    network : MatchingNetwork
        Unchanged.
    deviation : float
        Standard deviation of the factors' logarithms.
    generator : torch.Generator
        Source of the factors, on the CPU.

    Raises
    ------
    ValueError
        If the attention has no parameter `weight`, such as a custom one.
    """
    attention = copy.deepcopy(network.attention)
    weight = getattr(attention, "weight", None)
    if not isinstance(weight, nn.Parameter):
        raise ValueError(f"private_noise: expected an attention with a weight, found {type(attention).__name__}")
    with torch.no_grad():
        weight.mul_((deviation * torch.randn(weight.shape, generator=generator)).exp().to(weight.device))
    return MatchingNetwork(network.embedding, attention)


@torch.no_grad()
def mix(embedding: nn.Module, other: nn.Module, share: float) -> None:
    """Replace the parameters of an embedding by (1 - share) of themselves plus `share` of those of another one."""
    for parameter, new in zip(embedding.parameters(), other.parameters(), strict=True):
        parameter.lerp_(new.to(parameter), share)
