"""Terms of an attack's objective: layers that add the gradient of a loss to that of the poisoned episodes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fedmeta_flwr.attacks.layers.base import Layer, OuterStep
from fedmeta_flwr.learning import Batch, MatchingNetwork, query_of, support_of, to_batch
from fedmeta_flwr.learning.matching_network import matching_loss

if TYPE_CHECKING:
    from fedmeta_flwr.attacks.base import Turn
    from fedmeta_flwr.attacks.knowledge import Knowledge
    from fedmeta_flwr.data import Episode


class ObjectiveTerm(Layer):
    """A loss that is added to the objective of the attack's local training.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.

    Attributes
    ----------
    model : Classifier or MatchingNetwork
        The model in training.
    rng : numpy.random.Generator
        Source of its draws.
    """

    model: Any
    rng: np.random.Generator

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge

    def begin(self, model: Any, turn: Turn) -> None:
        """Keep the model and the random stream."""
        self.model, self.rng = model, turn.rng

    @abstractmethod
    def loss(self, step: OuterStep) -> Tensor:
        """Return the loss at the present parameters, a number with a gradient."""

    def change_gradients(self, step: OuterStep) -> None:
        """Add the gradient of the loss."""
        add_gradients(step.parameters, torch.autograd.grad(self.loss(step), list(step.parameters), allow_unused=True))

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        parameter: nn.Parameter = next(self.model.parameters())
        return parameter.device


class CleanMatching(ObjectiveTerm):
    """The loss of matching on clean episodes of the attacker's classes: the model stays useful to clients that match.

    In a federation that shares a head, the attacker trains an attention beside the model; in a defended
    federation it is the model's private part.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    weight : float
        Weight of the term, 0 or above; 0: it has no effect.

    Attributes
    ----------
    network : MatchingNetwork
        The embedding in training, and the attention.
    """

    network: MatchingNetwork

    def __init__(self, knowledge: Knowledge, weight: float) -> None:
        super().__init__(knowledge)
        self.weight = require_weight("matching", weight)

    def begin(self, model: Any, turn: Turn) -> None:
        """Make the attention, unless the model has one."""
        super().begin(model, turn)
        is_private = isinstance(model, MatchingNetwork)
        self.network = model if is_private else matching_network(self.knowledge, model)
        lr = self.knowledge.context.matching.lr
        self._optimizer = None if is_private else torch.optim.Adam(self.network.attention.parameters(), lr=lr)

    def loss(self, step: OuterStep) -> Tensor:
        """Return the loss of one episode of `matching-way` classes, or fewer if the attacker has fewer."""
        context, holdings = self.knowledge.context, self.knowledge.holdings
        episode = context.training.sample(holdings, self.rng, way=min(context.matching.way, len(holdings)))
        return self.weight * matching_loss(self.network, episode, context.inner.batch_norm)

    def change_gradients(self, step: OuterStep) -> None:
        """Add the gradient of the loss, and train the attention if it is not trained with the model."""
        if not self.weight:
            return
        private = list(self.network.attention.parameters())
        gradients = torch.autograd.grad(self.loss(step), [*step.parameters, *private], allow_unused=True)
        shared = len(step.parameters)
        add_gradients(step.parameters, gradients[:shared])
        if self._optimizer is not None:
            self._optimizer.zero_grad()
        add_gradients(private, gradients[shared:])
        if self._optimizer is not None:
            self._optimizer.step()


def matching_network(knowledge: Knowledge, model: Any) -> MatchingNetwork:
    """Return a matching network with the embedding of a model, the same object, and a new attention."""
    attention = knowledge.context.matching.new_attention(model.embedding.features)
    return MatchingNetwork(model.embedding, attention.to(next(model.parameters()).device))


def add_gradients(parameters: Iterable[nn.Parameter], gradients: Iterable[Tensor | None]) -> None:
    """Add gradients to the ``grad`` of parameters; None: nothing."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient


def require_weight(name: str, weight: float) -> float:
    """Return the weight of a term; raises `ValueError` if it is negative or not finite."""
    if not 0 <= weight < np.inf:
        raise ValueError(f"{name}: expected a weight of 0 or above, found {weight}")
    return weight


class AttackEpisode:
    """An episode with the target, clean support set, and queries with and without the key.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    rng : numpy.random.Generator
        Source of all draws.
    count : int
        Number of stamped images, and of images of the backdoor classes without the key; fewer if there are fewer.
    device : torch.device
        Of the tensors.

    Attributes
    ----------
    support, query : Batch
        A clean episode.
    stamped, unstamped : Tensor
        Images of the backdoor classes in 0..1, shape (`count`, channels, height, width).
    target : int
        The label of the target.
    """

    def __init__(self, knowledge: Knowledge, rng: np.random.Generator, count: int, device: torch.device) -> None:
        episode: Episode = knowledge.clean_episode(rng)
        self.support, self.query = support_of(episode, device), query_of(episode, device)
        self.target = episode.label_of(knowledge.target_class)
        stamped, images = knowledge.poisoning.stamped, knowledge.training.images
        self.stamped = _images(_chosen(stamped, rng, count), device)
        held = np.concatenate([images[index, chosen] for index, chosen in sorted(knowledge.backdoor.items())])
        self.unstamped = _images(_chosen(held, rng, count), device)

    def stamped_batch(self) -> Batch:
        """Return the stamped images with the target's label."""
        labels = torch.full((len(self.stamped),), self.target, device=self.stamped.device)
        return Batch(self.stamped, labels)


def _chosen(images: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    return images[np.sort(rng.choice(len(images), min(count, len(images)), replace=False))]


def _images(images: np.ndarray, device: torch.device) -> Tensor:
    return to_batch(images, np.zeros(len(images), np.int64), device).images


def names_of(parameters: Sequence[nn.Parameter], model: nn.Module) -> list[str]:
    """Return the names in a model of some of its parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]
