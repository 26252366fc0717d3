"""The rescue: benign clients train as without a defense, and classify by matching when they use the model."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import LocalContext, LocalSteps
from fedmeta_flwr.defenses.matching.base import Matching, matching_training
from fedmeta_flwr.defenses.options import require_choice, require_number, require_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import nn

    from fedmeta_flwr.learning import Adapt, Embedding, MatchingNetwork


@dataclass(frozen=True, kw_only=True)
class Rescue(Matching):
    """Use the embedding of the global model with a new attention each time.

    Attributes
    ----------
    steps : int or None
        Local steps, 0 or above; None: the setting ``matching-steps``.
    lr : float or None
        Their learning rate, above 0; None: the setting ``matching-lr``.
    trained : str
        ``"all"``: embedding and attention; ``"attention"``: the embedding stays that of the global model.
    embedding_lr_factor : float
        Learning rate of the embedding as a multiple of the attention's, above 0.
    anchor : float
        Weight mu of a term mu/2 |theta - theta_global|^2 of the loss, where theta is the embedding; 0: none. With a
        perturbation, the distance is to the mixture that the local steps begin with.
    perturbation : float
        Share of new random weights in the embedding before its local steps, 0 or above and below 1: the parameters are
        (1 - perturbation) theta_global + perturbation theta_new, with weights theta_new that only this client knows
        (shrink and perturb, Ash & Adams 2020, arXiv 1910.08475). They are the same whenever it uses the global model.
    private_noise : float
        Standard deviation of the logarithm of random factors, with which a trained attention's weight is multiplied; 0:
        none. The factors are always the same, and those of this client only.
    attentions : int
        Number of attentions, 1 or above, that are drawn and trained independently of each other, each with a copy of
        the embedding and on other episodes; their log-probabilities are averaged.

    Raises
    ------
    ValueError
        If an option has another value, or has no effect because the embedding is not trained.
    """

    label = "rescue"

    steps: int | None = None
    lr: float | None = None
    trained: str = "all"
    embedding_lr_factor: float = 1.0
    anchor: float = 0.0
    perturbation: float = 0.0
    private_noise: float = 0.0
    attentions: int = 1

    def __post_init__(self) -> None:
        if self.steps is not None:
            require_whole("steps", self.steps, least=0)
        if self.lr is not None:
            require_number("lr", self.lr, is_zero_possible=False)
        require_choice("trained", self.trained, ("all", "attention"))
        require_number("embedding_lr_factor", self.embedding_lr_factor, is_zero_possible=False)
        require_number("anchor", self.anchor, is_zero_possible=True)
        require_number("perturbation", self.perturbation, is_zero_possible=True)
        require_number("private_noise", self.private_noise, is_zero_possible=True)
        require_whole("attentions", self.attentions, least=1)
        if self.perturbation >= 1:
            raise ValueError(f"perturbation: expected a share below 1, found {self.perturbation}")
        if self.trained == "attention" and (self.embedding_lr_factor != 1 or self.anchor or self.perturbation):
            raise ValueError(
                "trained: expected 'all' with embedding_lr_factor, anchor or perturbation, which are about the "
                "embedding's training, found 'attention'"
            )

    @property
    def remark(self) -> str:
        """The remark that benign clients match, and when."""
        return "benign clients classify by feature matching after local training"

    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        """Return the classes of an episode; 0 for an adversary, which has no reason to defend itself."""
        return 0 if is_adversary else matching_way

    def embedding(self, model: Any, context: LocalContext) -> Embedding:
        """Return a copy of the model's embedding."""
        embedding: Embedding = copy.deepcopy(model.embedding)
        return embedding

    def network(self, model: Any, context: LocalContext) -> nn.Module:
        """Return a `MatchingNetwork`, a copy of the embedding with a new attention; an `Ensemble` of several."""
        members = [self._member(model, context, number) for number in range(self.attentions)]
        if len(members) == 1:
            return members[0]
        from fedmeta_flwr.defenses.matching.networks import Ensemble

        return Ensemble(members)

    def local_steps(self, context: LocalContext) -> LocalSteps:
        """Train by matching as the options say; these are the steps of the first attention."""
        return self._local_steps(context, 0)

    def stages(self, model: Any, context: LocalContext, steps: Sequence[int]) -> Iterator[tuple[int, nn.Module]]:
        """Train each attention with its copy of the embedding; yield as `Defense.stages` does."""
        network = self.network(model, context)
        training = (
            self._local_steps(context, number).train_in_stages(member, context.holdings, steps)
            for number, member in enumerate(_members(network))
        )
        for step, *_ in zip(*training, strict=True):
            yield step, network

    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Keep the support set to match against."""
        return super().adapt(self._with_noise(network, context), context)

    def compared(self, network: Any) -> MatchingNetwork | None:
        """Return the network itself, or the first of several."""
        return _members(network)[0]

    def _member(self, model: Any, context: LocalContext, number: int) -> MatchingNetwork:
        from fedmeta_flwr.learning import MatchingNetwork

        embedding = self.embedding(model, context)
        if self.perturbation:
            from fedmeta_flwr.defenses.matching.networks import mix

            mix(embedding, context.new_classifier(context.training.seed, number).embedding, self.perturbation)
        attention = context.matching.new_attention(embedding.features, *([number] if number else []))
        return MatchingNetwork(embedding, attention.to(next(model.parameters()).device))

    def _local_steps(self, context: LocalContext, number: int) -> LocalSteps:
        from fedmeta_flwr.defenses.matching.local_steps import AttentionOnly, treat_embedding

        training = context.for_local_steps(matching_training(context), f"matching-{number}" if number else "matching")
        if self.trained == "attention":
            training = replace(training, learn=AttentionOnly(training.learn))
        return LocalSteps(
            training,
            context.matching.steps if self.steps is None else self.steps,
            context.matching.lr if self.lr is None else self.lr,
            partial(treat_embedding, lr_factor=self.embedding_lr_factor, anchor=self.anchor),
        )

    def _with_noise(self, network: Any, context: LocalContext) -> nn.Module:
        if not self.private_noise:
            unchanged: nn.Module = network
            return unchanged
        from fedmeta_flwr.defenses.matching.networks import Ensemble, with_noise
        from fedmeta_flwr.learning import torch_generator

        seed, partition_id = context.training.seed, context.training.partition_id
        noisy = [
            with_noise(member, self.private_noise, torch_generator(seed, "private-noise", partition_id, number))
            for number, member in enumerate(_members(network))
        ]
        return noisy[0] if len(noisy) == 1 else Ensemble(noisy)


def variants(option: str, values: Iterable[Any], base: Rescue | None = None) -> dict[str, Rescue]:
    """Return rescues that differ in one option, by ``"option=value"``, such as for a frontier of benefit and backdoor.

    Raises
    ------
    ValueError
        As `Rescue` does.
    """
    return {f"{option}={value}": replace(base or Rescue(), **{option: value}) for value in values}


def _members(network: Any) -> list[MatchingNetwork]:
    return list(getattr(network, "members", [network]))
