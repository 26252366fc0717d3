"""Episodes: N-way K-shot tasks with a query set.

A class is an index into the data set. Its label is drawn anew in every episode, so a network cannot remember a class by
its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.data.roles import Holdings


class EpisodeError(ValueError):
    """An episode that cannot be drawn from the given classes and images; says what was expected and found."""


@dataclass(frozen=True)
class Episode:
    """One N-way K-shot task: a support set and a query set.

    Attributes
    ----------
    support, query : np.ndarray
        Uint8 images, shapes (way * shot, channels, height, width) and (way * query_shot, ...), grouped by label.
    support_labels, query_labels : np.ndarray
        Int64 in 0..way-1.
    classes : np.ndarray
        Int64, shape (way,): the class in the data set of each label.
    """

    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray
    classes: np.ndarray

    def label_of(self, class_index: int) -> int:
        """Return the label that a class of the data set has in this episode."""
        return int(np.flatnonzero(self.classes == class_index)[0])


def sample_episode(
    images: np.ndarray,
    holdings: Holdings,
    *,
    way: int,
    shot: int,
    query_shot: int,
    rng: np.random.Generator,
    required: Sequence[int] = (),
    rotation: bool = False,
) -> Episode:
    """Draw an episode.

    Parameters
    ----------
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    holdings : Mapping
        Classes to draw from, each with the instances that may be used.
    way, shot, query_shot : int
        Classes, support images per class, query images per class (disjoint from the support images).
    rng : numpy.random.Generator
        Source of all draws.
    required : sequence of int
        Classes that the episode must contain.
    rotation : bool
        Whether each class is rotated by a random multiple of 90 degrees.

    Returns
    -------
    Episode
        Its classes have labels in random order.

    Raises
    ------
    EpisodeError
        If there are fewer classes than `way`, or a class has fewer instances than `shot` + `query_shot`.
    """
    classes = _draw_classes(holdings, way, required, rng)
    turns = rng.integers(4, size=way) if rotation else np.zeros(way, np.int64)
    support, query = [], []
    for class_index, turn in zip(classes, turns, strict=True):
        chosen = _draw_instances(class_index, holdings[int(class_index)], shot + query_shot, rng)
        drawn = np.rot90(images[class_index, chosen], turn, axes=(-2, -1))
        support.append(drawn[:shot])
        query.append(drawn[shot:])
    labels = np.arange(way)
    return Episode(
        np.concatenate(support), labels.repeat(shot), np.concatenate(query), labels.repeat(query_shot), classes
    )


def _draw_classes(holdings: Holdings, way: int, required: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    others = np.array(sorted(set(holdings) - set(required)), dtype=np.int64)
    missing = way - len(required)
    if missing < 0 or len(others) < missing:
        raise EpisodeError(
            f"episode: expected at least {way} classes for way = {way}, found {len(holdings)} "
            f"({len(required)} of them required)"
        )
    chosen = np.concatenate([np.array(required, np.int64), rng.choice(others, missing, replace=False)])
    return rng.permutation(chosen)


def _draw_instances(class_index: int, held: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if len(held) < count:
        raise EpisodeError(
            f"episode: expected at least {count} images (shot + query shot) of class {class_index}, found {len(held)}"
        )
    return rng.choice(held, count, replace=False)
