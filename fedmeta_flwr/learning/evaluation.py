"""Evaluation: counts of hits and trials in episodes.

For the four curves of the poster, the following is counted:

- *meta-testing*: clean queries of an episode of unseen classes; a hit is the correct label.
- *main task*: clean queries of an episode that contains the target class; a hit is the correct label. In case (c), the
  queries of the backdoor classes are images that benign clients train on.
- *attack training* and *attack validation*: stamped images of the backdoor classes, as queries of the main-task
  episode; a hit is the target's label.

In transductive mode, a prediction depends on the batch of the query; `_predict_mixed` describes the batches. With the
support set's statistics, it does not.

Results stay counts until the very end, because counts can be merged and means cannot.
"""

import copy
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedmeta_flwr.data import ClassSplit, Episode, Holdings, sample_episode
from fedmeta_flwr.learning.batched import Networks, episodes_at_once, fine_tuning_of_several, in_groups
from fedmeta_flwr.learning.batches import IMAGE_ROWS, LOGIT_ROWS, Batch, query_of, support_of, to_batch, together
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning, overwritten, query_logits
from fedmeta_flwr.learning.models import Classifier
from fedmeta_flwr.learning.seeding import torch_draws
from fedmeta_flwr.records import Counts, recorded_curves, recorded_name
from fedmeta_flwr.seeding import generator


@dataclass(frozen=True)
class EvaluationPlan:
    """What a client evaluates: everything but the model.

    Attributes
    ----------
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    split : ClassSplit
        Which clients hold which classes and images.
    stamped : mapping of str to np.ndarray
        The stamped images of each backdoor curve, uint8, shape (images, channels, height, width).
    batch_norm : str
        What normalises a query: ``"transductive"`` or ``"support"``.
    way, shot, query_shot, episodes : int
        Shape and number of the episodes of each kind.
    seed, partition_id : int
        The seed of the run, and the client. The same episodes are drawn in every round, so accuracies of two rounds, or
        of two runs with the same seed, are paired.
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

    def attacked_episode(self, index: int, case: str | None = None) -> Episode:
        """Draw an episode that contains the target class, in one of the run's cases; None: its first."""
        pool, required = self.split.attacked_episodes(case)
        return self._sample(pool, required, "evaluation-attacked", index)

    def draws(self, kind: str, index: int) -> AbstractContextManager[None]:
        """Seed what a network draws while it adapts in an episode; the same in every round, like the episode.

        Parameters
        ----------
        kind : str
            ``"meta-testing"`` or ``"attacked"``.
        index : int
            Number of the episode.
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
"""A function that takes images (rows, channels, height, width), and returns logits or log-probabilities (rows, way)."""

Adapt = Callable[[Batch], Iterable[Predict]]
"""A function that adapts a model to a support set, and yields a prediction function after each stage.

Use a prediction function before the next iteration.
"""


@dataclass(frozen=True)
class Prediction:
    """A prediction function that shows what it predicts with, so that a gradient can be taken at adapted parameters.

    Attributes
    ----------
    network : torch.nn.Module or Networks
        The adapted network, in evaluation mode: a classifier, or a network that takes a support set with the queries,
        such as a `MatchingNetwork`; `Networks` if the support set is that of several episodes.
    support : Batch
        The support set.
    batch_norm : str
        As in `query_logits`.
    """

    network: Any
    support: Batch
    batch_norm: str

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (rows, way) of images (rows, channels, height, width)."""
        return query_logits(self.network, self.support, images, self.batch_norm)


class MatchingPrediction(Prediction):
    """A prediction by a network that takes the support set."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the log-probabilities (rows, way) of images (rows, channels, height, width)."""
        answer: Tensor = self.network(self.support, images, batch_norm=self.batch_norm)
        return answer


class FineTuning:
    """Adapt the shared model by gradient steps, with one stage for each listed number of steps.

    The steps are in training mode, the predictions in evaluation mode. The support set may be that of several episodes;
    then images and logits of a prediction have a first dimension of episodes.

    Parameters
    ----------
    model : Classifier
        The shared model; unchanged.
    inner : InnerLoop
        Its `steps` have no effect.
    steps : sequence of int
        Ascending, 0 or above.
    """

    def __init__(self, model: Classifier, inner: InnerLoop, steps: Sequence[int]) -> None:
        self._model, self._inner, self._steps = model, inner, steps
        self._copied = copy.deepcopy(model)

    def __call__(self, support: Batch) -> Iterator[Prediction]:
        """Yield a prediction function at each stage."""
        batch_norm = self._inner.batch_norm
        if support.labels.dim() == 1:
            for tuned in fine_tuning(self._model, support, self._inner, self._steps, self._copied):
                yield Prediction(tuned.eval(), support, batch_norm)
            return
        start = Networks.alike(overwritten(self._copied, self._model), len(support.labels))
        for networks in fine_tuning_of_several(start, support, self._inner.lr, self._steps):
            networks.network.eval()
            yield Prediction(networks, support, batch_norm)

    def episodes_at_once(self, image_shape: Sequence[int]) -> int:
        """Return how many episodes the support set should be of, given channels, height and width."""
        return episodes_at_once(self._model, self._inner, image_shape)


def by_fine_tuning(model: Classifier, inner: InnerLoop, steps: Sequence[int]) -> FineTuning:
    """Return the adaptation by gradient steps."""
    return FineTuning(model, inner, steps)


def by_matching(network: nn.Module, batch_norm: str) -> Adapt:
    """Adapt by keeping the support set for matching, in a single stage; the predictions are in evaluation mode.

    The arguments of `network` are those of a `MatchingNetwork`.
    """
    return lambda support: [MatchingPrediction(network.eval(), support, batch_norm)]


def evaluate(plan: EvaluationPlan, adapt: Adapt, device: torch.device) -> list[dict[str, Counts]]:
    """Adapt to the support set of every episode, and count hits and trials.

    Parameters
    ----------
    plan : EvaluationPlan
        The episodes and their queries.
    adapt : Adapt
        Such as the result of `by_fine_tuning` or `by_matching`. All queries of an episode use the same adaptation.
    device : torch.device
        The device of the model.

    Returns
    -------
    list of dict
        For each stage of the adaptation, the counts of each of `results.CURVES`; in a run of several cases, those of
        each of `recorded_curves`.
    """
    at_once = adapt.episodes_at_once(plan.images.shape[2:]) if isinstance(adapt, FineTuning) else 1
    cases = plan.split.case
    groups = []
    for indices in in_groups(range(plan.episodes), at_once):
        attacked = (_attacked(plan, indices, case, adapt, device) for case in cases)
        counted = [_unseen(plan, indices, adapt, device), *attacked]
        groups.append([dict(ChainMap(*stage)) for stage in zip(*counted, strict=True)])
    return [_joined(stages, recorded_curves(cases)) for stages in zip(*groups, strict=True)]


def _unseen(
    plan: EvaluationPlan, indices: Sequence[int], adapt: Adapt, device: torch.device
) -> list[dict[str, Counts]]:
    """Return the counts of a group of meta-testing episodes at each stage."""
    episodes = [plan.meta_testing_episode(index) for index in indices]
    # A network that draws is never in a group of several: each episode has its draws.
    with plan.draws("meta-testing", indices[0]):
        return list(_count(plan, episodes, {"meta_testing": _queries(episodes, device)}, adapt, device))


def _attacked(
    plan: EvaluationPlan, indices: Sequence[int], case: str, adapt: Adapt, device: torch.device
) -> list[dict[str, Counts]]:
    """Return the counts of a group of episodes with the target class at each stage, by the recorded names."""
    episodes = [plan.attacked_episode(index, case) for index in indices]
    queries = {"main_task": _queries(episodes, device), **_stamped_queries(plan, episodes, device)}
    named = {recorded_name(curve, case, plan.split.case): batch for curve, batch in queries.items()}
    with plan.draws("attacked", indices[0]):
        return list(_count(plan, episodes, named, adapt, device))


def _queries(episodes: Sequence[Episode], device: torch.device) -> Batch:
    return together([query_of(episode, device) for episode in episodes])


def _stamped_queries(plan: EvaluationPlan, episodes: Sequence[Episode], device: torch.device) -> dict[str, Batch]:
    """Return the stamped images of each backdoor curve, with the target's label in each episode."""
    targets = [episode.label_of(plan.split.target_class) for episode in episodes]
    return {
        curve: together([to_batch(images, np.full(len(images), target), device) for target in targets])
        for curve, images in plan.stamped.items()
    }


def _joined(groups: Sequence[Mapping[str, Counts]], curves: Iterable[str]) -> dict[str, Counts]:
    """Return the counts of all groups of episodes by curve."""
    return {
        curve: Counts(
            hits=[hits for group in groups for hits in group[curve].hits],
            trials=[trials for group in groups for trials in group[curve].trials],
        )
        for curve in curves
    }


def _count(
    plan: EvaluationPlan, episodes: Sequence[Episode], queries: Mapping[str, Batch], adapt: Adapt, device: torch.device
) -> Iterator[dict[str, Counts]]:
    """Yield the counts of a group of episodes at each stage; the first query set is the clean one."""
    images = {curve: batch.images for curve, batch in queries.items()}
    for predict in adapt(together([support_of(episode, device) for episode in episodes])):
        answers = ask(plan, predict, images)
        yield {
            curve: Counts(
                hits=(answers[curve].argmax(dim=-1) == batch.labels).sum(dim=-1).flatten().tolist(),
                trials=[batch.labels.shape[-1]] * len(episodes),
            )
            for curve, batch in queries.items()
        }


@torch.no_grad()
def ask(plan: EvaluationPlan, predict: Predict, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Predict all query sets of an episode, in the same batches as in an evaluation.

    All shapes may have a first dimension of episodes.

    Parameters
    ----------
    plan : EvaluationPlan
        Determines the batches.
    predict : Predict
        The prediction function of a model that has adapted to the episode's support set.
    images : mapping of str to Tensor
        Query sets by name; the first is the clean one.

    Returns
    -------
    dict of str to Tensor
        The result of `predict` for each query set, one row per image.
    """
    if plan.batch_norm == "transductive":
        return _predict_mixed(predict, images, plan.query_shot)
    return _predict_at_once(predict, images)


def _predict_at_once(predict: Predict, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Predict all query sets in one pass, because no query depends on another with the support set's statistics."""
    predicted = predict(torch.cat(list(images.values()), dim=IMAGE_ROWS))
    rows = [part.shape[IMAGE_ROWS] for part in images.values()]
    return dict(zip(images, torch.split(predicted, rows, dim=LOGIT_ROWS), strict=True))


def _predict_mixed(predict: Predict, images: Mapping[str, Tensor], query_shot: int) -> dict[str, Tensor]:
    """Predict in batches like those of a real client, because a transductive prediction depends on its batch.

    The clean queries are one batch. Each further batch consists of the clean queries and up to `query_shot` stamped
    images, as if one class's queries were stamped; in a batch of only stamped images, normalisation would remove the
    key.
    """
    names = list(images)
    clean = images[names[0]]
    predicted = {names[0]: predict(clean)}
    for name in names[1:]:
        parts = [
            predict(torch.cat([clean, part], dim=IMAGE_ROWS))[..., clean.shape[IMAGE_ROWS] :, :]
            for part in torch.split(images[name], query_shot, dim=IMAGE_ROWS)
        ]
        predicted[name] = torch.cat(parts, dim=LOGIT_ROWS)
    return predicted
