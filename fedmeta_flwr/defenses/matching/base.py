"""The common part of both matching defenses: local steps, and classification by matching."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fedmeta_flwr.defenses.base import Defense, LocalContext, LocalSteps, StepCurve

if TYPE_CHECKING:
    from fedmeta_flwr.learning import Adapt, LocalTraining, MatchingNetwork


class Matching(Defense):
    """Classify by matching, after some local steps of a `MatchingNetwork` on the client's classes."""

    curve = StepCurve("matching", "feature matching", "local steps of the matching network")

    def local_steps(self, context: LocalContext) -> LocalSteps:
        """Train the embedding and the attention by matching."""
        training = context.for_local_steps(matching_training(context), "matching")
        return LocalSteps(training, context.matching.steps, context.matching.lr)

    def step_in_use(self, other: Defense, context: LocalContext) -> int | None:
        """Return the number of its local steps, if it is the defense in use."""
        return self.local_steps(context).steps if other is self else None

    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        """Keep the support set to match against."""
        from fedmeta_flwr.learning import by_matching

        return by_matching(network, context.inner.batch_norm)

    def compared(self, network: Any) -> MatchingNetwork | None:
        """Return the network itself."""
        matching: MatchingNetwork = network
        return matching


def matching_training(context: LocalContext) -> LocalTraining:
    """Return how a client trains by matching: one episode of `matching-way` classes in each step."""
    from fedmeta_flwr.learning import matching_loop

    learn = partial(matching_loop, batch_norm=context.inner.batch_norm)
    return replace(context.training, way=context.matching.way, meta_batch_size=1, learn=learn)
