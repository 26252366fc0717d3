"""Alignment: stamped images get the features of the target, whatever is compared with them later.

Where the features of a stamped image are parallel to those of the target, no attention per feature can tell them
apart: the cosine of w * f(x) and w * f(t) is 1 for every w. Only local training of the embedding can.

Source: Yao et al. 2019 (latent backdoor, arXiv 1905.10447); Jia et al. 2022 (BadEncoder).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.objective import AttackEpisode, CleanMatching, ObjectiveTerm, require_weight
from fedmeta_flwr.learning import MatchingNetwork

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge
    from fedmeta_flwr.attacks.layers import OuterStep

_IMAGES = 10


class AlignmentTerm(ObjectiveTerm):
    """The cosine distance of stamped images to the target, and of all others to what they were in the global model.

    With f the embedding, f_0 the global one, and c the normalised mean of f_0 over the target's support images:
    a mean(1 - cos(f(stamped), c)) + r mean(1 - cos(f, f_0)) over the target's images + u mean(1 - cos(f, f_0)) over
    all other clean images, among them those of the backdoor classes without the key. All go through the embedding with
    the same support set, because its statistics normalise them.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    alignment, target_anchor, clean_anchor : float
        The weights a, r and u, 0 or above.
    """

    def __init__(self, knowledge: Knowledge, alignment: float, target_anchor: float, clean_anchor: float) -> None:
        super().__init__(knowledge)
        self.alignment = require_weight("alignment", alignment)
        self.target_anchor = require_weight("target_anchor", target_anchor)
        self.clean_anchor = require_weight("clean_anchor", clean_anchor)

    @property
    def has_effect(self) -> bool:
        """Whether a weight is above 0."""
        return max(self.alignment, self.target_anchor, self.clean_anchor) > 0

    def begin(self, model: Any, turn: Turn) -> None:
        """Keep a copy of the global embedding."""
        super().begin(model, turn)
        self._global = copy.deepcopy(model.embedding)

    def change_gradients(self, step: OuterStep) -> None:
        """Add the gradient of the loss, if a weight is above 0."""
        if self.has_effect:
            super().change_gradients(step)

    def loss(self, step: OuterStep) -> Tensor:
        """Return the loss in a new episode."""
        return self.loss_in(AttackEpisode(self.knowledge, self.rng, _IMAGES, self.device), self.model.embedding)

    def loss_in(self, episode: AttackEpisode, embedding: nn.Module) -> Tensor:
        """Return the loss of an embedding in an episode."""
        support, query = episode.support, episode.query
        now = self._features(episode, embedding)
        with torch.no_grad():
            then = self._features(episode, self._global)
        is_target = torch.cat([support.labels, query.labels]) == episode.target
        unstamped = torch.zeros(len(episode.unstamped), dtype=torch.bool, device=is_target.device)
        is_target = torch.cat([is_target, unstamped])
        clean = len(is_target)
        center = functional.normalize(then[: len(support.labels)][support.labels == episode.target].mean(dim=0), dim=0)
        moved = 1 - functional.cosine_similarity(now[:clean], then[:clean])
        distance = 1 - functional.cosine_similarity(now[clean:], center[None])
        return (
            self.alignment * distance.mean()
            + self.target_anchor * moved[is_target].mean()
            + self.clean_anchor * moved[~is_target].mean()
        )

    def _features(self, episode: AttackEpisode, embedding: Any) -> Tensor:
        """Return the features of support, query, unstamped and stamped images, in this order."""
        queries = torch.cat([episode.query.images, episode.unstamped, episode.stamped])
        network = MatchingNetwork(embedding, nn.Identity())
        return torch.cat(network.features(episode.support.images, queries, self.knowledge.context.inner.batch_norm))


class Alignment(LayeredAttack):
    """Poisoned local training with the alignment term, and with clean matching, which clients that match rely on.

    With all weights 0, it is model replacement.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    alignment, target_anchor, clean_anchor : float
        Weights of the three parts of `AlignmentTerm`.
    matching : float
        Weight of `CleanMatching`.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        alignment: float = 1.0,
        target_anchor: float = 1.0,
        clean_anchor: float = 1.0,
        matching: float = 1.0,
    ) -> None:
        super().__init__(
            knowledge,
            AlignmentTerm(knowledge, alignment, target_anchor, clean_anchor),
            CleanMatching(knowledge, matching),
        )
