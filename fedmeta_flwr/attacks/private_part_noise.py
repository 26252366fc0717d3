"""Private-part noise: a backdoor that works for many private parts around the attacker's own.

Source: BapFL, arXiv 2307.15971, in its form with noise. There the private part is a classifier head; here it is the
attention of a client that matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.objective import AttackEpisode, CleanMatching, add_gradients, require_weight

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.knowledge import Knowledge
    from fedmeta_flwr.attacks.layers import OuterStep

_IMAGES = 10
_LOGARITHM = "log_"


class NoisyMatching(CleanMatching):
    """A clean matching step of embedding and attention; then -log p(target) of stamped queries with a fixed attention.

    The latter is the mean over the attention and over draws around it.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    scale : float
        Standard deviation s of the noise: a weight w becomes w exp(s e), with e standard normal, and a temperature T
        becomes T exp(s e). With 0, all draws are the attention itself.
    draws : int
        Number of draws besides the attention itself, 0 or above.
    weight : float
        Weight of the stamped queries, 0 or above.
    matching : float
        Weight of the clean matching step.
    """

    def __init__(self, knowledge: Knowledge, scale: float, draws: int, weight: float, matching: float) -> None:
        super().__init__(knowledge, matching)
        self.scale, self.stamped_weight = require_weight("scale", scale), require_weight("weight", weight)
        if draws < 0:
            raise ValueError(f"draws: expected 0 or more, found {draws}")
        self.draws = draws

    def change_gradients(self, step: OuterStep) -> None:
        """Take the clean step, and add the gradient of the stamped queries to that of the embedding."""
        super().change_gradients(step)
        if self.stamped_weight:
            loss = self.stamped_weight * self.stamped_loss()
            add_gradients(step.parameters, torch.autograd.grad(loss, list(step.parameters), allow_unused=True))

    def stamped_loss(self) -> Tensor:
        """Return the mean over attentions of -log p(target) of stamped queries in a new episode."""
        episode = AttackEpisode(self.knowledge, self.rng, _IMAGES, self.device)
        stamped, attention = episode.stamped_batch(), self.network.attention
        batch_norm = self.knowledge.context.inner.batch_norm
        support, queries = self.network.features(episode.support.images, stamped.images, batch_norm)
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        fixed = {name: value.detach() for name, value in attention.named_parameters()}
        noisy = [noisy_parameters(attention, self.scale, generator) for _ in range(self.draws)]
        losses = []
        for parameters in [fixed, *noisy]:
            log_attention = functional_call(attention, parameters, (queries, support))
            predicted = self.network.label_probabilities(log_attention, episode.support.labels)
            losses.append(functional.nll_loss(predicted, stamped.labels))
        return torch.stack(losses).mean()


def noisy_parameters(attention: nn.Module, scale: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the parameters of an attention, each times exp(scale * e); to a logarithm, scale * e is added.

    A parameter is a logarithm if its name begins with ``log_``.
    """
    noisy = {}
    for name, value in attention.named_parameters():
        noise = scale * torch.randn(value.shape, generator=generator).to(value)
        is_logarithm = name.rpartition(".")[2].startswith(_LOGARITHM)
        noisy[name] = value.detach() + noise if is_logarithm else value.detach() * noise.exp()
    return noisy


class PrivatePartNoise(LayeredAttack):
    """Poisoned local training, and a backdoor in the features for attentions around the attacker's.

    With `weight` and `matching` 0, it is model replacement.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    scale : float
        Standard deviation of the noise.
    draws : int
        Draws of the noise in each step.
    weight, matching : float
        Weights of stamped queries and of clean matching; see `NoisyMatching`.
    """

    def __init__(
        self, knowledge: Knowledge, scale: float = 0.2, draws: int = 4, weight: float = 1.0, matching: float = 1.0
    ) -> None:
        super().__init__(knowledge, NoisyMatching(knowledge, scale, draws, weight, matching))
