"""What is measured: episodes to counts of hits and trials.

Four counts per episode draw, the four curves of the poster:

- *meta-testing*: clean queries of an episode of unseen classes; a hit is the right label.
- *main task*: clean queries of an episode that contains the target class; a hit is the right label.
- *attack training* and *attack validation*: stamped images of the backdoor classes, asked in the main-task
  episode; a hit is the target's label.

In transductive mode a prediction depends on the batch that a query is asked in; `_predict_mixed` says which. With the
support set's statistics it does not.

Counts stay counts until the very end: they merge, means do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedmeta_flwr.backdoor import BackdoorKey, stamp
from fedmeta_flwr.class_split import ClassSplit, Holdings
from fedmeta_flwr.episodes import Episode, sample_episode
from fedmeta_flwr.meta_learning import Batch, InnerLoop, fine_tuned, query_logits, query_of, support_of, to_batch
from fedmeta_flwr.models import Classifier
from fedmeta_flwr.results import CURVES
from fedmeta_flwr.seeding import generator


@dataclass(frozen=True)
class Counts:
    """Hits and trials of one curve, an entry per episode."""

    hits: list[int]
    trials: list[int]


@dataclass(frozen=True)
class EvaluationPlan:
    """What a client evaluates: everything but the model.

    Attributes
    ----------
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    split : ClassSplit
        Who holds what.
    key : BackdoorKey
        What stamps the attack sets.
    inner : InnerLoop
        Fine-tuning of an evaluation episode.
    way, shot, query_shot, episodes : int
        Shape and number of the episodes of each kind.
    seed, partition_id : int
        Of the run and of the client. The same episodes are drawn in every round, so accuracies of two rounds, or of
        two runs of one seed, are paired.
    """

    images: np.ndarray
    split: ClassSplit
    key: BackdoorKey
    inner: InnerLoop
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


def stamped_images(images: np.ndarray, holdings: Holdings, key: BackdoorKey) -> np.ndarray:
    """Return all held images with the key stamped on, uint8, shape (held, channels, height, width)."""
    return stamp(np.concatenate([images[index, held] for index, held in sorted(holdings.items())]), key)


def evaluate(model: Classifier, plan: EvaluationPlan) -> dict[str, Counts]:
    """Fine-tune on every episode's support set, and count.

    Parameters
    ----------
    model : Classifier
        The shared model; unchanged.
    plan : EvaluationPlan
        The episodes, and what is asked in them.

    Returns
    -------
    dict
        Each of `results.CURVES` to its counts.
    """
    device = next(model.parameters()).device
    attack_sets = {
        "attack_training": stamped_images(plan.images, plan.split.attack_training, plan.key),
        "attack_validation": stamped_images(plan.images, plan.split.attack_validation, plan.key),
    }
    counts = {curve: Counts([], []) for curve in CURVES}
    for index in range(plan.episodes):
        clean = {"meta_testing": query_of(episode := plan.meta_testing_episode(index), device)}
        _count(model, episode, clean, plan.inner, counts)
        episode = plan.attacked_episode(index)
        target = episode.label_of(plan.split.target_class)
        queries = {"main_task": query_of(episode, device)} | {
            curve: to_batch(stamped, np.full(len(stamped), target), device) for curve, stamped in attack_sets.items()
        }
        _count(model, episode, queries, plan.inner, counts)
    return counts


def _count(
    model: Classifier, episode: Episode, queries: Mapping[str, Batch], inner: InnerLoop, counts: dict[str, Counts]
) -> None:
    """Add one episode: a single fine-tuning serves all of its query sets; the first of them is the clean one."""
    support = support_of(episode, next(model.parameters()).device)
    tuned = fine_tuned(model, support, inner)
    images = {curve: batch.images for curve, batch in queries.items()}
    predict = _predict_mixed if inner.batch_norm == "transductive" else _predict_at_once
    for curve, predicted in predict(tuned, support, images, len(episode.query) // len(episode.classes)).items():
        counts[curve].hits.append(int((predicted == queries[curve].labels).sum()))
        counts[curve].trials.append(len(predicted))


@torch.no_grad()
def _predict_at_once(tuned: nn.Module, support: Batch, images: Mapping[str, Tensor], _: int) -> dict[str, Tensor]:
    """Predict all query sets in one pass: with the support set's statistics no query depends on another."""
    predicted = query_logits(tuned, support, torch.cat(list(images.values())), "support").argmax(dim=1)
    return dict(zip(images, torch.split(predicted, [len(part) for part in images.values()]), strict=True))


@torch.no_grad()
def _predict_mixed(
    tuned: nn.Module, support: Batch, images: Mapping[str, Tensor], query_shot: int
) -> dict[str, Tensor]:
    """Predict in batches as a client would meet them, since a transductive prediction depends on its batch.

    Clean queries are a batch of their own. Stamped images come `query_shot` at a time, as if one class's queries were
    stamped, behind the clean queries; a batch of stamped images alone would have its key normalised away.
    """
    names = list(images)
    clean = images[names[0]]
    predicted = {names[0]: query_logits(tuned, support, clean, "transductive").argmax(dim=1)}
    for name in names[1:]:
        parts = [
            query_logits(tuned, support, torch.cat([clean, part]), "transductive").argmax(dim=1)[len(clean) :]
            for part in torch.split(images[name], query_shot)
        ]
        predicted[name] = torch.cat(parts)
    return predicted
