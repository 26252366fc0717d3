"""A fresh head: the head of the global model is replaced by a new one, which is tuned on an episode's support set.

Source: Qin et al. 2023, "Revisiting Personalized Federated Learning: Robustness Against Backdoor Attacks" (KDD; arXiv
2302.01677), Simple-Tuning. Differs: the head is tuned in each episode, because an episode has its own labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import Defense, LocalContext, StepCurve
from fedmeta_flwr.defenses.options import require_choice, require_number, require_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedmeta_flwr.learning import Adapt


@dataclass(frozen=True, kw_only=True)
class FreshHead(Defense):
    """Use the embedding of the global model with a new head.

    The head is drawn from PyTorch's global generator, which an evaluation seeds for each episode. So it is the same in
    every round, for the clean and for the poisoned model.

    Attributes
    ----------
    steps : int
        Full-batch steps of plain gradient descent on the support set, 0 or above.
    lr : float
        Their learning rate, above 0.
    tuned : str
        ``"head"``: the embedding stays as it is; ``"all"``: it is tuned with the head.

    Raises
    ------
    ValueError
        If an option has another value.
    """

    label = "fresh head"
    curve = StepCurve("fresh-head", "fresh head", "tuning steps of a fresh head", is_of_episode=True)

    steps: int = 50
    lr: float = 0.1
    tuned: str = "head"

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, least=0)
        require_number("lr", self.lr, is_zero_possible=False)
        require_choice("tuned", self.tuned, ("head", "all"))

    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Tune a new head on the support set."""
        return self.adapt_in_stages(network, context, [self.steps])

    def adapt_in_stages(self, network: Any, context: LocalContext, steps: Sequence[int]) -> Adapt:
        """Tune a new head on the support set; the option `steps` has no effect."""
        from fedmeta_flwr.learning import by_fresh_head

        inner = replace(context.inner, lr=self.lr)
        return by_fresh_head(network, inner, steps, is_embedding_tuned=self.tuned == "all")
