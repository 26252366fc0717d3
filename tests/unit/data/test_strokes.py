from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmeta_flwr.data import DatasetError, load_strokes, strokes
from fedmeta_flwr.data.store import ImageDataset


def _load(cache_dir: Path, **changes: Any) -> ImageDataset:
    arguments = {"num_classes": 25, "num_instances": 6, "image_size": 28, "seed": 0} | changes
    return load_strokes(**arguments, cache_dir=cache_dir)


def _nearest_centroid_accuracy(images: np.ndarray, episodes: int) -> float:
    """5-way 5-shot accuracy of the nearest mean image, 5 queries per class."""
    rng = np.random.default_rng(0)
    pixels = images.reshape(*images.shape[:2], -1) / 255.0
    hits = []
    for _ in range(episodes):
        classes = rng.choice(len(pixels), 5, replace=False)
        order = rng.permutation(pixels.shape[1])
        centroids = pixels[classes][:, order[:5]].mean(axis=1)
        queries = pixels[classes][:, order[5:10]]
        distances = ((queries[:, :, None] - centroids) ** 2).sum(axis=-1)
        hits.append(distances.argmin(axis=-1) == np.arange(5)[:, None])
    return float(np.mean(hits))


def test_shape_names_and_groups_are_as_asked_for(tmp_path: Path) -> None:
    dataset = _load(tmp_path)
    assert dataset.name == "strokes"
    assert dataset.images.shape == (25, 6, 1, 28, 28)
    assert (dataset.class_names[0], dataset.class_names[24]) == ("Alphabet01/character01", "Alphabet02/character05")
    assert dataset.groups == ("Alphabet01",) * 20 + ("Alphabet02",) * 5


def test_the_same_seed_draws_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    first = _load(tmp_path / "1")
    assert _load(tmp_path / "2").fingerprint == first.fingerprint
    other = _load(tmp_path / "1", seed=1)
    assert (other.images != first.images).any(axis=(2, 3, 4)).all()


def test_a_drawing_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    large, small = _load(tmp_path).images, _load(tmp_path, num_classes=21, num_instances=2).images
    np.testing.assert_array_equal(large[:21, :2], small)


def test_all_drawings_are_different_and_none_is_empty_or_blotted(tmp_path: Path) -> None:
    images = _load(tmp_path).images.reshape(150, -1)
    assert len(np.unique(images, axis=0)) == 150
    ink = images.mean(axis=1) / 255
    assert 0.01 < ink.min() < ink.max() < 0.3


def test_drawings_are_bright_ink_on_dark_paper_with_smooth_edges(tmp_path: Path) -> None:
    images = _load(tmp_path).images
    assert (images == 0).mean() > 0.6
    assert (images.max(axis=(2, 3, 4)) > 200).all()
    assert ((images > 0) & (images < 255)).any(axis=(2, 3, 4)).all()


def test_a_drawing_is_the_same_at_every_image_size(tmp_path: Path) -> None:
    small = _load(tmp_path).images
    large = _load(tmp_path, image_size=84).images
    shrunk = large.reshape(25, 6, 1, 28, 3, 28, 3).mean(axis=(4, 6))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.99
    # An edge is one pixel wide at every size, so with pixels a third as wide less of the ink is grey.
    grey_share = [((images > 0) & (images < 255)).sum() / (images > 0).sum() for images in (small, large)]
    assert grey_share[1] < 0.6 * grey_share[0]


def test_a_curve_passes_through_its_control_points_without_a_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 256
    monkeypatch.setattr(strokes, "_STEPS_PER_SPAN", steps)
    points = np.random.default_rng(0).normal(size=(1, 5, 2))
    curve = strokes._spline(points)[0]
    np.testing.assert_allclose(curve[::steps], points[0])
    # Where a curve is smooth, a second difference shrinks with the step's square; at a corner, with the step only.
    corners = np.abs(np.diff(curve, n=2, axis=0)).max() * steps**2
    assert corners < 20


def _pen_widths(images: np.ndarray) -> np.ndarray:
    """Ink per length of edge: grows with the pen, whatever the size of the character."""
    edges = np.hypot(*np.gradient(images[:, :, 0].astype(float), axis=(2, 3)))
    return np.asarray(images.sum(axis=(2, 3, 4)) / edges.sum(axis=(2, 3)))


def _slants(images: np.ndarray) -> np.ndarray:
    """Covariance of an inked pixel's x and y over its variance in y: changes with the slant."""
    ink = images[:, :, 0] / images.sum(axis=(2, 3, 4), keepdims=True)[:, :, 0]
    places = np.arange(28.0)
    y = places[:, None] - (ink.sum(axis=3) @ places)[:, :, None, None]
    x = places - (ink.sum(axis=2) @ places)[:, :, None, None]
    return np.asarray((ink * x * y).sum(axis=(2, 3)) / (ink * y * y).sum(axis=(2, 3)))


@pytest.mark.parametrize("measure", [_pen_widths, _slants])
def test_a_drawer_keeps_pen_and_slant_over_all_characters(
    tmp_path: Path, measure: Callable[[np.ndarray], np.ndarray]
) -> None:
    # Drawers rank alike on both halves of the classes; if every drawing had another pen or slant, they would not.
    habits = measure(_load(tmp_path, num_classes=60, num_instances=20).images)
    assert np.corrcoef(habits[:30].mean(axis=0), habits[30:].mean(axis=0))[0, 1] > 0.8


def _directions(images: np.ndarray) -> np.ndarray:
    """Return how much of a class's edges runs in each of 8 directions: (classes, 8), rows add up to 1."""
    down, right = np.gradient(images[:, :, 0].astype(float), axis=(2, 3))
    octants = (np.arctan2(down, right) % np.pi / np.pi * 8).astype(int) % 8
    strengths = np.hypot(down, right)
    sums = np.stack([np.where(octants == octant, strengths, 0).sum(axis=(1, 2, 3)) for octant in range(8)], axis=1)
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))


def test_characters_of_an_alphabet_share_strokes_and_so_their_directions(tmp_path: Path) -> None:
    # Squared distances within alphabets over those between any: 1 if an alphabet meant nothing, 0.73 to 0.91 measured
    # over seeds 0 to 7.
    directions = _directions(_load(tmp_path, num_classes=200, num_instances=20).images)
    between = ((directions[:, None] - directions) ** 2).sum() / (200 * 199)
    alphabets = directions.reshape(10, 20, 8)
    within = ((alphabets[:, :, None] - alphabets[:, None]) ** 2).sum() / (10 * 20 * 19)
    assert within < 0.93 * between


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_raw_pixels_tell_classes_apart_but_far_from_well(tmp_path: Path, seed: int) -> None:
    # Chance is 0.2. Seeds 0 to 2 have 0.61 to 0.63 on 400 classes; a conv net trained on 300 has 0.97 on the others.
    dataset = _load(tmp_path, num_classes=100, num_instances=20, seed=seed)
    assert 0.5 < _nearest_centroid_accuracy(dataset.images, 200) < 0.75


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_classes": 0}, "strokes classes of 1 or above, found 0"),
        ({"num_instances": 0}, "strokes instances of 1 or above, found 0"),
        ({"image_size": 7}, "strokes image size of 8 or above, found 7"),
        ({"seed": -1}, "strokes seed of 0 or above, found -1"),
    ],
)
def test_a_number_out_of_range_is_refused(tmp_path: Path, changes: dict[str, int], complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        _load(tmp_path, **changes)
