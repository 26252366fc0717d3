"""Local meta-training: which episodes a client draws in a round, and how it learns from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fedmeta_flwr.class_split import Holdings
from fedmeta_flwr.episodes import Episode, sample_episode
from fedmeta_flwr.meta_learning import InnerLoop, outer_loop
from fedmeta_flwr.models import Classifier
from fedmeta_flwr.seeding import generator

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


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
        Whether each class of an episode is turned by a random multiple of 90 degrees.
    meta_batch_size : int
        Episodes per outer step.
    algorithm : str
        ``"maml"``, ``"fomaml"`` or ``"reptile"``.
    inner : InnerLoop
        Fine-tuning within an episode.
    optimizer : str
        ``"adam"`` or ``"sgd"``; its state is fresh in every round, so that nothing but the model outlives one.
    seed, partition_id : int
        Of the run and of the client.
    """

    images: np.ndarray
    way: int
    shot: int
    query_shot: int
    rotation: bool
    meta_batch_size: int
    algorithm: str
    inner: InnerLoop
    optimizer: str
    seed: int
    partition_id: int

    def train(
        self,
        model: Classifier,
        draw: Callable[[np.random.Generator], Episode],
        *,
        server_round: int,
        outer_steps: int,
        outer_lr: float,
        proximal_mu: float,
    ) -> float:
        """Train the model in place, and return the mean query loss.

        Parameters
        ----------
        model : Classifier
            The global model; becomes the local one.
        draw : callable
            Draws an episode from a random stream.
        server_round : int
            From 1; names the random streams.
        outer_steps : int
            Number of outer steps of `meta_batch_size` episodes.
        outer_lr : float
            Learning rate of the outer loop.
        proximal_mu : float
            FedProx's weight of the distance to the global model; 0 for none.
        """
        return outer_loop(
            model,
            self._meta_batches(draw, server_round, outer_steps),
            algorithm=self.algorithm,
            inner=self.inner,
            optimizer=_OPTIMIZERS[self.optimizer](model.parameters(), lr=outer_lr),
            proximal_mu=proximal_mu,
        )

    def sample(self, holdings: Holdings, rng: np.random.Generator, required: tuple[int, ...] = ()) -> Episode:
        """Draw an episode of this client's shape from what is held."""
        return sample_episode(
            self.images,
            holdings,
            way=self.way,
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
                generator(self.seed, "training-episode", self.partition_id, server_round, step, index)
                for index in range(self.meta_batch_size)
            )
            yield [draw(stream) for stream in streams]
