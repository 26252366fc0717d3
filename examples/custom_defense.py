"""A defense by class means: a query gets the class with the nearest mean feature of the support images.

    uv run python -m experiments run quickstart -c defense=examples.custom_defense:ClassMeans \
        -c 'defense-options={"steps": 10}' -c "step-curves=fine-tuning class-means"

Benign clients train as without a defense. Before a client uses the model, it trains a copy on its classes for some
steps, and then ignores the head.
Source: Snell et al. 2017 (prototypical networks).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fedmeta_flwr.defenses import Defense, LocalContext, LocalSteps, StepCurve
from fedmeta_flwr.learning import Adapt, Batch, Classifier, MatchingNetwork


class ClassMeans(Defense):
    """Takes `steps` local steps with the head, then compares features with class means."""

    label = "class means"
    curve = StepCurve("class-means", "class means", "local steps with the head")

    def __init__(self, *, steps: int = 10) -> None:
        self.steps = steps

    def network(self, model: Classifier, context: LocalContext) -> Classifier:
        """Return a copy, because the local steps change it."""
        return copy.deepcopy(model)

    def local_steps(self, context: LocalContext) -> LocalSteps:
        """Train as in a round, on other episodes."""
        training = context.for_local_steps(context.training, "class-means")
        return LocalSteps(training, self.steps, context.head_lr)

    def adapt(self, network: Classifier, context: LocalContext) -> Adapt:
        """Keep the support set, and classify queries by the nearest class mean."""
        embedding = MatchingNetwork(network.embedding, nn.Identity()).eval()

        def adapt(support: Batch) -> list[Callable[[Tensor], Tensor]]:
            def predict(images: Tensor) -> Tensor:
                known, asked = embedding.features(support.images, images, context.inner.batch_norm)
                labels = range(int(support.labels.max()) + 1)
                means = torch.stack([known[support.labels == label].mean(dim=0) for label in labels])
                return -torch.cdist(asked, means).square()

            return [predict]

        return adapt
