"""The control of the rescue: what a client reaches alone, without the federation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import LocalContext, StepCurve
from fedmeta_flwr.defenses.matching.rescue import Rescue

if TYPE_CHECKING:
    from fedmeta_flwr.learning import Embedding


class LocalOnly(Rescue):
    """Train as a rescued client does, from new random weights of the embedding instead of the global model's.

    The weights are the same in every round, so the curves of the clean and of the poisoned model are equal.
    """

    label = "local training only"
    uses_global_model = False
    curve = StepCurve("local-only", "local training\nonly (control)", "local steps from random weights")

    @property
    def remark(self) -> str:
        """The remark that the global model is not used."""
        return "benign clients use no global model"

    def embedding(self, model: Any, context: LocalContext) -> Embedding:
        """Return a new embedding of the client's."""
        from fedmeta_flwr.learning import fast_layout

        device = next(model.parameters()).device
        new = context.new_classifier().embedding
        return new.to(device).to(memory_format=fast_layout(device))
