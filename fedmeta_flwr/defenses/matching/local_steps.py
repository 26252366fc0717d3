"""How local steps treat the embedding of a matching network: frozen, at another rate, or near the global embedding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import Learn, MatchingNetwork, ProximalTerm


@dataclass(frozen=True)
class AttentionOnly:
    """Learn as another function does, with the embedding frozen."""

    learn: Learn

    def __call__(self, network: MatchingNetwork, meta_batches: Iterable[Sequence[Episode]], /, **options: Any) -> float:
        """Train the attention on all meta-batches."""
        trained = [parameter for parameter in network.embedding.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            return self.learn(network, meta_batches, **options)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)


def treat_embedding(
    network: MatchingNetwork, optimizer: torch.optim.Optimizer, *, lr_factor: float, anchor: float
) -> None:
    """Give the embedding its learning rate, and keep it near its present value; before the optimiser's first step.

    Parameters
    ----------
    network : MatchingNetwork
        Its embedding has the value theta_global.
    optimizer : torch.optim.Optimizer
        Over ``network.parameters()``, in one group.
    lr_factor : float
        Learning rate of the embedding as a multiple of the group's.
    anchor : float
        Weight of the `ProximalTerm`, whose gradient is added before each step; 0: none.
    """
    if lr_factor != 1:
        _multiply_lr(network.embedding.parameters(), optimizer, lr_factor)
    if anchor:
        term = ProximalTerm(network.embedding.parameters(), anchor)
        optimizer.register_step_pre_hook(lambda *_: term.add_gradient())


def _multiply_lr(parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Move parameters to another group of the optimiser."""
    moved = list(parameters)
    (group,) = optimizer.param_groups
    group["params"] = [kept for kept in group["params"] if all(kept is not parameter for parameter in moved)]
    optimizer.add_param_group({"params": moved, "lr": factor * group["lr"]})
