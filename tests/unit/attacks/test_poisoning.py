import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta_flwr.attacks.poisoning import make_poison, poison_episode, poisoned_count
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data.episodes import EpisodeError, sample_episode

CLASSES, INSTANCES = 12, 10
IMAGES = np.arange(CLASSES * INSTANCES, dtype=np.uint8).reshape(CLASSES, INSTANCES, 1, 1, 1) * np.ones(
    (1, 1, 1, 3, 3), np.uint8
)
HOLDINGS = {index: np.arange(INSTANCES) for index in range(CLASSES)}
STAMPED = np.full((20, 1, 3, 3), 200, np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]


@settings(max_examples=50)
@given(fraction=st.floats(0.01, 1.0), poison_support=st.booleans(), seed=st.integers(0, 99))
def test_poisoning_replaces_the_stated_share_of_the_target_only(
    fraction: float, poison_support: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    clean = sample_episode(IMAGES, HOLDINGS, way=5, shot=5, query_shot=4, rng=rng, required=(3,))
    poisoned = poison_episode(clean, STAMPED, 3, poison_fraction=fraction, poison_support=poison_support, rng=rng)
    label = clean.label_of(3)
    for before, after, labels, expected in (
        (clean.support, poisoned.support, clean.support_labels, poison_support * poisoned_count(5, fraction)),
        (clean.query, poisoned.query, clean.query_labels, poisoned_count(4, fraction)),
    ):
        changed = (before != after).any(axis=(1, 2, 3))
        assert changed.sum() == expected
        assert (labels[changed] == label).all()
    bright = [a for a in [*poisoned.support[:, 0, 0, 0], *poisoned.query[:, 0, 0, 0]] if a >= 200]
    assert len(bright) == len(set(bright))
    assert (poisoned.support_labels == clean.support_labels).all()


@pytest.mark.parametrize(("images", "fraction", "count"), [(5, 0.4, 2), (5, 0.5, 3), (5, 0.01, 1), (15, 1.0, 15)])
def test_the_documented_numbers_of_poisoned_images(images: int, fraction: float, count: int) -> None:
    assert poisoned_count(images, fraction) == count


def test_too_small_an_attack_training_set_is_refused() -> None:
    rng = np.random.default_rng(0)
    clean = sample_episode(IMAGES, HOLDINGS, way=5, shot=5, query_shot=4, rng=rng, required=(3,))
    with pytest.raises(EpisodeError, match=r"at least 5 \+ 4 attack training images, found 8"):
        poison_episode(clean, STAMPED[:8], 3, poison_fraction=1.0, poison_support=True, rng=rng)


def test_the_built_in_poisoning_has_a_name() -> None:
    assert make_poison("replacement") is poison_episode


def test_a_poisoning_with_other_arguments_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"poisoning: expected .* to take the arguments .*too many positional"):
        make_poison("unit.custom_objects:flat_key")
