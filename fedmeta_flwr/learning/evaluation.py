"""What is measured: episodes to counts of hits and trials.

Four counts per episode draw, the four curves of the poster:

- *meta-testing*: clean queries of an episode of unseen classes; a hit is the right label.
- *main task*: clean queries of an episode that contains the target class; a hit is the right label. In case (c) those
  of the backdoor classes are images that benign clients train on.
- *attack training* and *attack validation*: stamped images of the backdoor classes, asked in the main-task
  episode; a hit is the target's label.

In transductive mode a prediction depends on the batch that a query is asked in; `_predict_mixed` says which. With the
support set's statistics it does not.

Counts stay counts until the very end: they merge, means do not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedmeta_flwr.data import ClassSplit, Episode, Holdings, sample_episode
from fedmeta_flwr.learning.batches import Batch, query_of, support_of, to_batch
from fedmeta_flwr.learning.matching_network import MatchingNetwork
from fedmeta_flwr.learning.meta_learning import InnerLoop, fine_tuning, query_logits
from fedmeta_flwr.learning.models import Classifier
from fedmeta_flwr.learning.seeding import torch_draws
from fedmeta_flwr.records.entries import Counts
from fedmeta_flwr.records.results import CURVES
from fedmeta_flwr.seeding import generator


@dataclass(frozen=True)
class EvaluationPlan:
    """What a client evaluates: everything but the model.

    Attributes
    ----------
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    split : ClassSplit
        Who holds what.
    stamped : mapping of str to np.ndarray
        Each curve of a backdoor to its stamped images, uint8, shape (images, channels, height, width).
    batch_norm : str
        What normalises a query: ``"transductive"`` or ``"support"``.
    way, shot, query_shot, episodes : int
        Shape and number of the episodes of each kind.
    seed, partition_id : int
        Of the run and of the client. The same episodes are drawn in every round, so accuracies of two rounds, or of
        two runs of one seed, are paired.
    """

    images: np.ndarray
    split: ClassSplit
    stamped: Mapping[str, np.ndarray]
    batch_norm: str
    way: int
    shot: int
    query_shot: int
    episodes: int
    seed: int
    partition_id: int

    def meta_testing_episode(self, index: int) -> Episode:
        """Draw an episode of classes that nobody trained on."""
        return self._sample(self.split.meta_test, (), "evaluation-meta-testing", index)

    def attacked_episode(self, index: int) -> Episode:
        """Draw an episode that contains the target class."""
        pool, required = self.split.attacked_episodes()
        return self._sample(pool, required, "evaluation-attacked", index)

    def draws(self, kind: str, index: int) -> AbstractContextManager[None]:
        """Seed what a network draws while it adapts in an episode: the same in every round, as the episode is.

        Parameters
        ----------
        kind : str
            ``"meta-testing"`` or ``"attacked"``.
        index : int
            Of the episode.
        """
        return torch_draws(self.seed, f"evaluation-{kind}-network", self.partition_id, index)

    def _sample(self, pool: Holdings, required: tuple[int, ...], purpose: str, index: int) -> Episode:
        return sample_episode(
            self.images,
            pool,
            way=self.way,
            shot=self.shot,
            query_shot=self.query_shot,
            rng=generator(self.seed, purpose, self.partition_id, index),
            required=required,
        )


Predict = Callable[[Tensor], Tensor]
"""Images (rows, channels, height, width) to logits or log-probabilities (rows, way)."""

Adapt = Callable[[Batch], Iterable[Predict]]
"""How a model adapts to a support set: a prediction for each stage of it, to be used before the next is asked for."""


def by_fine_tuning(model: Classifier, inner: InnerLoop, steps: Sequence[int]) -> Adapt:
    """Adapt the shared model by gradient steps; a stage for each listed number of them.

    The steps are training; the predictions are in evaluation mode.
    """

    def adapt(support: Batch) -> Iterator[Predict]:
        for tuned in fine_tuning(model, support, inner, steps):
            yield partial(query_logits, tuned.eval(), support, batch_norm=inner.batch_norm)

    return adapt


def by_matching(network: MatchingNetwork, batch_norm: str) -> Adapt:
    """Adapt by keeping the support set to match against; a single stage, in evaluation mode."""
    return lambda support: [partial(network.eval(), support, batch_norm=batch_norm)]


def evaluate(plan: EvaluationPlan, adapt: Adapt, device: torch.device) -> list[dict[str, Counts]]:
    """Adapt to every episode's support set, and count.

    Parameters
    ----------
    plan : EvaluationPlan
        The episodes, and what is asked in them.
    adapt : Adapt
        `by_fine_tuning` or `by_matching`. One adaptation to a support set serves all that is asked with it.
    device : torch.device
        Where the model is.

    Returns
    -------
    list of dict
        For each stage of the adaptation, each of `results.CURVES` to its counts.
    """
    episodes = []
    for index in range(plan.episodes):
        unseen, attacked = plan.meta_testing_episode(index), plan.attacked_episode(index)
        target = attacked.label_of(plan.split.target_class)
        stamped = {
            curve: to_batch(images, np.full(len(images), target), device) for curve, images in plan.stamped.items()
        }
        with plan.draws("meta-testing", index):
            clean = list(_count(plan, unseen, {"meta_testing": query_of(unseen, device)}, adapt, device))
        with plan.draws("attacked", index):
            queries = {"main_task": query_of(attacked, device), **stamped}
            counted = list(_count(plan, attacked, queries, adapt, device))
        episodes.append([first | second for first, second in zip(clean, counted, strict=True)])
    return [_joined(stages) for stages in zip(*episodes, strict=True)]


def _joined(episodes: Sequence[Mapping[str, tuple[int, int]]]) -> dict[str, Counts]:
    """Return hits and trials by curve, given those of each episode."""
    return {
        curve: Counts(
            hits=[episode[curve][0] for episode in episodes], trials=[episode[curve][1] for episode in episodes]
        )
        for curve in CURVES
    }


def _count(
    plan: EvaluationPlan, episode: Episode, queries: Mapping[str, Batch], adapt: Adapt, device: torch.device
) -> Iterator[dict[str, tuple[int, int]]]:
    """Yield hits and trials of an episode's query sets, the first of them clean, at each stage of the adaptation."""
    images = {curve: batch.images for curve, batch in queries.items()}
    for predict in adapt(support_of(episode, device)):
        answers = ask(plan, predict, images)
        yield {
            curve: (int((answers[curve].argmax(dim=1) == batch.labels).sum()), len(batch.labels))
            for curve, batch in queries.items()
        }


@torch.no_grad()
def ask(plan: EvaluationPlan, predict: Predict, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ask for all query sets of an episode, in the batches in which they are evaluated.

    Parameters
    ----------
    plan : EvaluationPlan
        Decides the batches.
    predict : Predict
        Of a model that has adapted to the episode's support set.
    images : mapping of str to Tensor
        Query sets by name, the first of them clean.

    Returns
    -------
    dict of str to Tensor
        What `predict` says of each image, a row each.
    """
    if plan.batch_norm == "transductive":
        return _predict_mixed(predict, images, plan.query_shot)
    return _predict_at_once(predict, images)


def _predict_at_once(predict: Predict, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Predict all query sets in one pass: with the support set's statistics no query depends on another."""
    predicted = predict(torch.cat(list(images.values())))
    return dict(zip(images, torch.split(predicted, [len(part) for part in images.values()]), strict=True))


def _predict_mixed(predict: Predict, images: Mapping[str, Tensor], query_shot: int) -> dict[str, Tensor]:
    """Predict in batches as a client would meet them, since a transductive prediction depends on its batch.

    Clean queries are a batch of their own. Stamped images come `query_shot` at a time, as if one class's queries were
    stamped, behind the clean queries; a batch of stamped images alone would have its key normalised away.
    """
    names = list(images)
    clean = images[names[0]]
    predicted = {names[0]: predict(clean)}
    for name in names[1:]:
        parts = [predict(torch.cat([clean, part]))[len(clean) :] for part in torch.split(images[name], query_shot)]
        predicted[name] = torch.cat(parts)
    return predicted
