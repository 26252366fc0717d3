"""The defended federation: all clients train by matching, and no classifier head is exchanged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import LocalContext, MatchingSettings
from fedmeta_flwr.defenses.matching.base import Matching, matching_training

if TYPE_CHECKING:
    from torch import nn

    from fedmeta_flwr.learning import Classifier, LocalTraining, MatchingNetwork


class DefendedFederation(Matching):
    """Share the embedding, and train with it an attention that never leaves the client."""

    label = "defended federation"
    has_head = False
    private = "an attention"

    @property
    def remark(self) -> str:
        """The remark that all clients match."""
        return "everybody classifies by feature matching"

    def classes_per_step(self, *, way: int, meta_batch_size: int, matching_way: int) -> int:
        """Return the classes of the only episode of a step."""
        return matching_way

    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        """Return the classes of an episode, which an adversary also needs, for its training."""
        return matching_way

    def model(self, classifier: Classifier, matching: MatchingSettings) -> MatchingNetwork:
        """Return a matching network with the classifier's embedding; the head is dropped."""
        from fedmeta_flwr.learning import MatchingNetwork

        return MatchingNetwork(classifier.embedding, matching.new_attention(classifier.embedding.features))

    def shared_part(self, model: MatchingNetwork) -> nn.Module:
        """Return the embedding."""
        return model.embedding

    def private_part(self, model: MatchingNetwork) -> nn.Module:
        """Return the attention."""
        return model.attention

    def training(self, context: LocalContext) -> LocalTraining:
        """Train by matching in a round."""
        return matching_training(context)

    def network(self, model: Any, context: LocalContext) -> MatchingNetwork:
        """Return a copy of the model, including the attention."""
        network: MatchingNetwork = copy.deepcopy(model)
        return network
