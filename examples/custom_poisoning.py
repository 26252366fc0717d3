"""Poisoning by blending: every query of the target is mixed with a stamped image, so that none looks out of place.

uv run python -m experiments run quickstart -c poisoning=examples.custom_poisoning:blend_queries
"""

from dataclasses import replace

import numpy as np

from fedmeta_flwr.data import Episode


def blend_queries(
    episode: Episode,
    stamped: np.ndarray,
    target_class: int,
    *,
    poison_fraction: float,
    poison_support: bool,
    rng: np.random.Generator,
) -> Episode:
    """Return a copy with blended queries of the target; `poison_fraction` is the share of the stamped image in each."""
    label = episode.label_of(target_class)
    query, support = episode.query.copy(), episode.support.copy()
    parts = [(query, episode.query_labels)] + [(support, episode.support_labels)] * poison_support
    for images, labels in parts:
        rows = np.flatnonzero(labels == label)
        chosen = stamped[rng.choice(len(stamped), len(rows))]
        images[rows] = np.rint((1 - poison_fraction) * images[rows] + poison_fraction * chosen).astype(np.uint8)
    return replace(episode, query=query, support=support)
