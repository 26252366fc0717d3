import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta_flwr.data.episodes import EpisodeError, sample_episode

CLASSES, INSTANCES = 12, 10
# the pixel value of an image is its address: class * INSTANCES + instance
IMAGES = np.arange(CLASSES * INSTANCES, dtype=np.uint8).reshape(CLASSES, INSTANCES, 1, 1, 1) * np.ones(
    (1, 1, 1, 3, 3), np.uint8
)
HOLDINGS = {index: np.arange(INSTANCES) for index in range(CLASSES)}


def addresses(images: np.ndarray) -> list[int]:
    flat: list[int] = images[:, 0, 0, 0].tolist()
    return flat


@settings(max_examples=50)
@given(way=st.integers(2, CLASSES), shot=st.integers(1, 5), query_shot=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_episode_has_its_shape_and_true_labels_and_no_image_twice(
    way: int, shot: int, query_shot: int, seed: int
) -> None:
    episode = sample_episode(
        IMAGES, HOLDINGS, way=way, shot=shot, query_shot=query_shot, rng=np.random.default_rng(seed)
    )
    assert episode.support.shape == (way * shot, 1, 3, 3)
    assert episode.query.shape == (way * query_shot, 1, 3, 3)
    assert len(set(episode.classes.tolist())) == way
    support, query = addresses(episode.support), addresses(episode.query)
    assert len({*support, *query}) == way * (shot + query_shot)
    for images, labels in ((support, episode.support_labels), (query, episode.query_labels)):
        assert [address // INSTANCES for address in images] == episode.classes[labels].tolist()
    assert np.bincount(episode.support_labels).tolist() == [shot] * way
    assert np.bincount(episode.query_labels).tolist() == [query_shot] * way


def test_labels_are_shuffled_in_every_episode() -> None:
    rng = np.random.default_rng(0)
    labels = {
        sample_episode(IMAGES, HOLDINGS, way=5, shot=1, query_shot=1, rng=rng, required=(3,)).label_of(3)
        for _ in range(100)
    }
    assert labels == {0, 1, 2, 3, 4}


def test_only_held_instances_are_drawn() -> None:
    holdings = {index: np.array([1, 4, 7]) for index in range(CLASSES)}
    episode = sample_episode(IMAGES, holdings, way=5, shot=2, query_shot=1, rng=np.random.default_rng(1))
    assert {address % INSTANCES for address in addresses(episode.support) + addresses(episode.query)} <= {1, 4, 7}


def test_required_classes_are_always_there() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        episode = sample_episode(IMAGES, HOLDINGS, way=3, shot=1, query_shot=1, rng=rng, required=(2, 11))
        assert {2, 11} <= set(episode.classes.tolist())


def test_rotation_turns_a_class_as_a_whole() -> None:
    corner = np.zeros((8, 6, 1, 4, 4), np.uint8)
    corner[..., 0, 0] = 255  # the bright corner shows how far an image was turned
    holdings = {index: np.arange(6) for index in range(8)}
    turns = set()
    for seed in range(10):
        episode = sample_episode(
            corner, holdings, way=5, shot=3, query_shot=3, rng=np.random.default_rng(seed), rotation=True
        )
        images = np.concatenate([episode.support, episode.query])
        labels = np.concatenate([episode.support_labels, episode.query_labels])
        where = images.reshape(len(images), -1).argmax(axis=1)
        for label in range(5):
            assert len(set(where[labels == label].tolist())) == 1
        turns |= set(where.tolist())
    assert turns == {0, 3, 12, 15}


@pytest.mark.parametrize(
    ("way", "shot", "message"), [(13, 1, "at least 13 classes"), (5, 8, "at least 11 images .* class")]
)
def test_too_few_classes_or_images_are_refused(way: int, shot: int, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        sample_episode(IMAGES, HOLDINGS, way=way, shot=shot, query_shot=3, rng=np.random.default_rng(0))
