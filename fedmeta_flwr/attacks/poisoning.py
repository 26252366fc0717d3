"""Poisoned episodes: stamped images of backdoor classes, labelled as the target class."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from fedmeta_flwr.config.registry import parse_options, require_arguments, resolve
from fedmeta_flwr.data import Episode, EpisodeError


class Poison(Protocol):
    """A function that turns a clean episode into a poisoned one."""

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
        If there is no such poisoning, or it does not take the arguments of a `Poison`.
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
    """Replace some of the target's query and support images with stamped images of backdoor classes.

    Parameters
    ----------
    episode : Episode
        A clean episode that contains the target class.
    stamped : np.ndarray
        Uint8, shape (images, channels, height, width): the attack training set, already stamped.
    target_class : int
        Class index of the target.
    poison_fraction : float
        Share of the target's images to replace, in the support set and in the query set. The number of images is
        rounded to the nearest integer (halves up), and at least one. At 5-shot with 5 queries, 0.4 replaces 2 support
        and 2 query images.
    poison_support : bool
        Whether the support set is poisoned as well as the query set.
    rng : numpy.random.Generator
        Source of all draws.

    Returns
    -------
    Episode
        A copy in which the stamped images have the target's label; none of them occurs twice.

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
    """Return how many of the target's `images` are replaced: the nearest integer, halves rounded up, at least 1."""
    return max(1, int(images * poison_fraction + 0.5))


@dataclass(frozen=True)
class Poisoning:
    """How an attacker's stamped images are put into its episodes; the names are those of the run configuration.

    Attributes
    ----------
    stamped : np.ndarray
        The attacker's attack training images with the key stamped on, uint8, shape (images, channels, height, width).
    poison : Poison
        The function that turns an episode into a poisoned one.
    poison_fraction : float
        Share of the target's images that are replaced in a poisoned query or support set.
    poison_support_episodes : float
        Share of episodes whose support set is also poisoned.
    """

    stamped: np.ndarray
    poison: Poison
    poison_fraction: float
    poison_support_episodes: float

    def __call__(self, episode: Episode, target_class: int, rng: np.random.Generator) -> Episode:
        """Return a poisoned copy of a clean episode that contains the target."""
        return self.poison(
            episode,
            self.stamped,
            target_class,
            poison_fraction=self.poison_fraction,
            poison_support=bool(rng.random() < self.poison_support_episodes),
            rng=rng,
        )
