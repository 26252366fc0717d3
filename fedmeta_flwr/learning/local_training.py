"""Local meta-training: the episodes that a client draws in a round, and how it learns from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from fedmeta_flwr.data import Episode, Holdings, sample_episode
from fedmeta_flwr.learning.seeding import torch_draws
from fedmeta_flwr.seeding import generator

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class Learn(Protocol):
    """A function that trains a model in place on meta-batches of episodes, and returns the mean query loss."""

    def __call__(
        self,
        model: Any,
        meta_batches: Iterable[Sequence[Episode]],
        /,
        *,
        optimizer: torch.optim.Optimizer,
        proximal_mu: float,
    ) -> float:
        """Train on all meta-batches."""


@dataclass(frozen=True)
class LocalTraining:
    """How a client meta-trains; the names are those of the run configuration.

    Attributes
    ----------
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    way, shot, query_shot : int
        Shape of an episode.
    rotation : bool
        Whether each class of an episode is rotated by a random multiple of 90 degrees.
    meta_batch_size : int
        Episodes per outer step.
    learn : Learn
        How it learns from meta-batches: `meta_learning.outer_loop` or `matching_network.matching_loop`, with all other
        arguments bound.
    optimizer : str
        ``"adam"`` or ``"sgd"``. Its state is new in every round, so only the model is kept from round to round.
    seed, partition_id : int
        The seed of the run, and the client.
    purpose : str
        Purpose of the random streams of the episodes.
    """

    images: np.ndarray
    way: int
    shot: int
    query_shot: int
    rotation: bool
    meta_batch_size: int
    learn: Learn
    optimizer: str
    seed: int
    partition_id: int
    purpose: str = "training-episode"

    def train(
        self,
        model: nn.Module,
        draw: Callable[[np.random.Generator], Episode],
        *,
        server_round: int,
        outer_steps: int,
        outer_lr: float,
        proximal_mu: float,
        prepare: Callable[[torch.optim.Optimizer], None] | None = None,
    ) -> float:
        """Train the model in place, and return the mean query loss.

        Parameters
        ----------
        model : torch.nn.Module
            The global model; becomes the local one.
        draw : callable
            Draws an episode from a random stream.
        server_round : int
            From 1; it identifies the random streams.
        outer_steps : int
            Number of outer steps of `meta_batch_size` episodes.
        outer_lr : float
            Learning rate of the outer loop.
        proximal_mu : float
            FedProx's weight of the distance to the global model; 0 for none.
        prepare : callable, optional
            Called with the optimiser before its first step, for example to register hooks.
        """
        optimizer = self._optimizer(model, outer_lr)
        if prepare is not None:
            prepare(optimizer)
        with self._draws(server_round):
            return self.learn(
                model,
                self._meta_batches(draw, server_round, outer_steps),
                optimizer=optimizer,
                proximal_mu=proximal_mu,
            )

    def train_in_stages(
        self,
        model: nn.Module,
        holdings: Holdings,
        *,
        steps: Sequence[int],
        lr: float,
        prepare: Callable[[torch.optim.Optimizer], None] | None = None,
    ) -> Iterator[int]:
        """Train the model in place outside of the rounds; yield each listed number of steps when it is reached.

        Parameters
        ----------
        model : torch.nn.Module
            Changed in place.
        holdings : Holdings
            The classes and images from which episodes are drawn.
        steps : sequence of int
            Ascending, 0 or above.
        lr : float
            Learning rate of the optimiser. All stages use the same optimiser.
        prepare : callable, optional
            As in `train`.
        """
        optimizer = self._optimizer(model, lr)
        if prepare is not None:
            prepare(optimizer)
        batches = self._meta_batches(lambda rng: self.sample(holdings, rng), 0, steps[-1])
        done = 0
        for wanted in steps:
            for step in range(done, wanted):
                with self._draws(0, step):
                    self.learn(model, islice(batches, 1), optimizer=optimizer, proximal_mu=0.0)
            done = wanted
            yield wanted

    def _draws(self, *keys: int) -> AbstractContextManager[None]:
        """Seed what the network itself draws in training, such as in dropout."""
        return torch_draws(self.seed, f"{self.purpose}-network", self.partition_id, *keys)

    def _optimizer(self, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        return _OPTIMIZERS[self.optimizer](model.parameters(), lr=lr)

    def sample(
        self, holdings: Holdings, rng: np.random.Generator, required: tuple[int, ...] = (), *, way: int | None = None
    ) -> Episode:
        """Draw an episode of this training's shape from the given classes and images; `way` may be another."""
        return sample_episode(
            self.images,
            holdings,
            way=way or self.way,
            shot=self.shot,
            query_shot=self.query_shot,
            rng=rng,
            required=required,
            rotation=self.rotation,
        )

    def num_examples(self, outer_steps: int) -> int:
        """Return how many images a round of local training sees."""
        return outer_steps * self.meta_batch_size * self.way * (self.shot + self.query_shot)

    def _meta_batches(
        self, draw: Callable[[np.random.Generator], Episode], server_round: int, outer_steps: int
    ) -> Iterator[list[Episode]]:
        for step in range(outer_steps):
            streams = (
                generator(self.seed, self.purpose, self.partition_id, server_round, step, index)
                for index in range(self.meta_batch_size)
            )
            yield [draw(stream) for stream in streams]
