"""The rescue: benign clients train as without a defense, and classify by matching when they use the model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import LocalContext
from fedmeta_flwr.defenses.matching.base import Matching

if TYPE_CHECKING:
    from fedmeta_flwr.learning import MatchingNetwork


class Rescue(Matching):
    """Use the embedding of the global model with a new attention each time."""

    label = "rescue"

    @property
    def remark(self) -> str:
        """The remark that benign clients match, and when."""
        return "benign clients classify by feature matching after local training"

    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        """Return the classes of an episode; 0 for an adversary, which has no reason to defend itself."""
        return 0 if is_adversary else matching_way

    def network(self, model: Any, context: LocalContext) -> MatchingNetwork:
        """Return a copy of the embedding with a new attention."""
        from fedmeta_flwr.learning import MatchingNetwork

        attention = context.matching.new_attention(model.embedding.features)
        return MatchingNetwork(copy.deepcopy(model.embedding), attention.to(next(model.parameters()).device))
