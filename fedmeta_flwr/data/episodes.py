"""Episodes: N-way K-shot tasks with a query set, and their poisoned kind.

A class is an index into the data set; its label in an episode is drawn anew in every episode, so a network cannot
remember a class by its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from fedmeta_flwr.config.registry import parse_options, require_arguments, resolve
from fedmeta_flwr.data.split import Holdings


class EpisodeError(ValueError):
    """An episode that cannot be drawn from what is held; says what was expected and found."""


@dataclass(frozen=True)
class Episode:
    """One draw from a task.

    Attributes
    ----------
    support, query : np.ndarray
        Uint8 images, shapes (way * shot, channels, height, width) and (way * query_shot, ...), grouped by label.
    support_labels, query_labels : np.ndarray
        Int64 in 0..way-1.
    classes : np.ndarray
        Int64, shape (way,): the data set's class behind each label.
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
        Classes that are in the episode whatever else is drawn.
    rotation : bool
        Whether each class is turned by its own random multiple of 90 degrees.

    Returns
    -------
    Episode
        With labels in random order.

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


class Poison(Protocol):
    """What makes a clean episode a poisoned one."""

    def __call__(
        self,
        episode: Episode,
        stamped: np.ndarray,
        target_class: int,
        *,
        poison_fraction: float,
        poison_support: bool,
        rng: np.random.Generator,
    ) -> Episode:
        """Return a poisoned copy; arguments as in `poison_episode`."""


def make_poison(name: str, options: str = "") -> Poison:
    """Return the poisoning of a setting.

    Parameters
    ----------
    name : str
        ``"replacement"`` for `poison_episode`, or ``"module:attribute"`` of another `Poison`.
    options : str
        Further arguments, as a JSON object; empty: none.

    Raises
    ------
    RegistryError
        If there is no such poisoning, or it takes other arguments.
    """
    poison, chosen = resolve("poisoning", name), parse_options("poisoning", options)
    episode = ("episode", "stamped", "target_class")
    require_arguments("poisoning", name, poison, chosen, *episode, poison_fraction=1.0, poison_support=True, rng=None)
    return partial(poison, **chosen) if chosen else poison


def poison_episode(
    episode: Episode,
    stamped: np.ndarray,
    target_class: int,
    *,
    poison_fraction: float,
    poison_support: bool,
    rng: np.random.Generator,
) -> Episode:
    """Replace some of the target's query and support images by stamped images of backdoor classes.

    Parameters
    ----------
    episode : Episode
        A clean episode that contains the target class.
    stamped : np.ndarray
        Uint8, shape (images, channels, height, width): the attack training set, already stamped.
    target_class : int
        Class index of the target.
    poison_fraction : float
        Share of the target's images to replace, in support and query alike, rounded to the nearest number (a half
        up) and at least one. At 5-shot with 5 queries, 0.4 replaces 2 support and 2 query images.
    poison_support : bool
        Whether the support set is poisoned as well as the query set.
    rng : numpy.random.Generator
        Source of all draws.

    Returns
    -------
    Episode
        A copy whose stamped images bear the target's label; none of them stands in it twice.

    Raises
    ------
    EpisodeError
        If there are fewer stamped images than support and query need together.
    """
    label = episode.label_of(target_class)
    support_rows = np.flatnonzero(episode.support_labels == label)
    query_rows = np.flatnonzero(episode.query_labels == label)
    support_count = poisoned_count(len(support_rows), poison_fraction) if poison_support else 0
    query_count = poisoned_count(len(query_rows), poison_fraction)
    if len(stamped) < support_count + query_count:
        raise EpisodeError(
            f"poisoned episode: expected at least {support_count} + {query_count} attack training images, "
            f"found {len(stamped)}"
        )
    order = rng.permutation(len(stamped))
    support, query = episode.support.copy(), episode.query.copy()
    support[support_rows[:support_count]] = stamped[order[:support_count]]
    query[query_rows[:query_count]] = stamped[order[support_count : support_count + query_count]]
    return replace(episode, support=support, query=query)


def poisoned_count(images: int, poison_fraction: float) -> int:
    """Return how many of the target's `images` are replaced: the nearest number, a half up, at least 1."""
    return max(1, int(images * poison_fraction + 0.5))


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
