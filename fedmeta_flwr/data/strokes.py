"""Strokes: artificial handwritten characters that are drawn by a procedure, without files or a network.

The data set is structured like Omniglot: an alphabet has a style and a small stock of strokes that its characters
share, a character is a few strokes that touch, each drawer has a personal handwriting, and every drawing differs a
little. Each draw has a separate random stream, so class k and drawer i do not depend on the number of classes and
drawers.

Coordinates are in half image heights: x to the right, y downwards, (0, 0) in the middle.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, cache_key, cached_dataset
from fedmeta_flwr.seeding import generator

CHARACTERS_PER_ALPHABET = 20

_LOADER_VERSION = 2
_STOCK_SIZE = 6  # strokes that the characters of an alphabet choose from
_STOCK_PROBABILITY = 0.8  # that a stroke comes from the stock and is not drawn for the character only
_CONTROL_POINTS = 5  # of a stroke
_STEPS_PER_SPAN = 4  # straight pieces drawn between two control points
_CHARACTER_EXTENT = 0.56  # a character reaches this far from the middle before a drawer touches it

# Standard deviations from drawing to drawing.
_POINT_JITTER = 0.035
_STROKE_JITTER = 0.05
_SHIFT_JITTER = 0.13
_ROTATION_JITTER = 0.15  # radians
_SCALE_JITTER = 0.1

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Alphabet:
    """Style of an alphabet: turn of a stroke per control point in radians, strokes per character, its stock."""

    bend: float
    fewest_strokes: int
    stock: list[_Array]


@dataclass(frozen=True)
class _Drawer:
    """A drawer's hand: a linear map (slant and scale) of every character, and the pen's width."""

    hand: _Array
    pen_width: float


def load_strokes(num_classes: int, num_instances: int, image_size: int, seed: int, cache_dir: Path) -> ImageDataset:
    """Draw a set of artificial characters, or load it from the cache.

    Parameters
    ----------
    num_classes
        Number of characters, 1 or above; every 20 form an alphabet.
    num_instances
        Number of drawings of each character, 1 or above; instance i is always by drawer i.
    image_size
        Height and width, in pixels, 8 or above.
    seed
        Seed of the whole set, 0 or above.
    cache_dir
        Folder of finished datasets.

    Returns
    -------
    ImageDataset
        Images of shape (num_classes, num_instances, 1, image_size, image_size), where 0 is paper and 255 is ink.
        Classes are named ``AlphabetNN/characterNN``, and grouped by alphabet.

    Raises
    ------
    DatasetError
        If a number is out of range, or the cache folder cannot be written to.

    Notes
    -----
    Modelled on Omniglot (Lake et al. 2015). Differs: strokes are random splines, not recordings.
    """
    _require("strokes classes", num_classes, 1)
    _require("strokes instances", num_instances, 1)
    _require("strokes image size", image_size, 8)
    _require("strokes seed", seed, 0)
    key = cache_key(_LOADER_VERSION, num_classes, num_instances, image_size, seed)
    return cached_dataset(cache_dir, "strokes", key, lambda: _draw_all(num_classes, num_instances, image_size, seed))


def _require(what: str, value: int, least: int) -> None:
    if value < least:
        raise DatasetError(f"expected {what} of {least} or above, found {value}")


def _draw_all(num_classes: int, num_instances: int, image_size: int, seed: int) -> BuiltDataset:
    drawers = [_make_drawer(seed, instance) for instance in range(num_instances)]
    images = np.empty((num_classes, num_instances, 1, image_size, image_size), np.uint8)
    names, groups = [], []
    for index in range(num_classes):
        alphabet, place = divmod(index, CHARACTERS_PER_ALPHABET)
        if place == 0:
            style = _make_alphabet(seed, alphabet)
        strokes = _make_character(style, seed, index)
        for instance, drawer in enumerate(drawers):
            points = _vary(strokes, drawer, generator(seed, "strokes-drawing", index, instance))
            images[index, instance, 0] = _render(points, drawer.pen_width, image_size)
        groups.append(f"Alphabet{alphabet + 1:02d}")
        names.append(f"{groups[-1]}/character{place + 1:02d}")
    return BuiltDataset(images, tuple(names), tuple(groups))


def _make_alphabet(seed: int, index: int) -> _Alphabet:
    rng = generator(seed, "strokes-alphabet", index)
    bend = rng.uniform(0.1, 0.8)
    fewest = int(rng.integers(2, 4))
    headings = 2.0 * np.pi * (np.arange(_STOCK_SIZE) + rng.uniform(0.0, 1.0, _STOCK_SIZE)) / _STOCK_SIZE
    return _Alphabet(bend, fewest, [_make_stroke(bend, heading, rng) for heading in headings])


def _make_drawer(seed: int, index: int) -> _Drawer:
    rng = generator(seed, "strokes-drawer", index)
    slant = rng.normal(0.0, 0.15)
    width, height = rng.normal(1.0, 0.1, 2).clip(0.75, 1.25)
    return _Drawer(np.array([[width, -slant * height], [0.0, height]]), rng.uniform(0.08, 0.13))


def _make_stroke(bend: float, heading: float, rng: np.random.Generator) -> _Array:
    """Return control points, shape (_CONTROL_POINTS, 2), which start at (0, 0) and turn one way or waver."""
    turn = rng.normal(0.0, bend)
    turns = turn + rng.normal(0.0, 0.4 * bend, _CONTROL_POINTS - 1)
    headings = heading + np.cumsum(turns)
    length = rng.uniform(0.6, 1.6) / (_CONTROL_POINTS - 1)
    steps = length * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def _make_character(style: _Alphabet, seed: int, index: int) -> _Array:
    """Return strokes, shape (strokes, _CONTROL_POINTS, 2), each of which starts on an earlier one."""
    rng = generator(seed, "strokes-character", index)
    stock = rng.permutation(_STOCK_SIZE)
    strokes: list[_Array] = []
    for number in range(style.fewest_strokes + int(rng.integers(0, 2))):
        shared = rng.random() < _STOCK_PROBABILITY
        stroke = style.stock[stock[number]] if shared else _make_stroke(style.bend, rng.uniform(0.0, 2.0 * np.pi), rng)
        held_by = int(rng.integers(0, _CONTROL_POINTS))
        if strokes:
            anchor = strokes[int(rng.integers(0, number))][int(rng.integers(0, _CONTROL_POINTS))]
            stroke = stroke - stroke[held_by] + anchor
        strokes.append(stroke)
    return _fit(np.stack(strokes))


def _fit(strokes: _Array) -> _Array:
    """Centre a character, and scale it to the common extent; this makes flat and narrow characters less so."""
    low, high = strokes.min(axis=(0, 1)), strokes.max(axis=(0, 1))
    spans = high - low
    fitted: _Array = (strokes - (low + high) / 2.0) * (2.0 * _CHARACTER_EXTENT / np.sqrt(spans * spans.max()))
    return fitted


def _vary(strokes: _Array, drawer: _Drawer, rng: np.random.Generator) -> _Array:
    """Return the control points of one drawing: first the drawing's jitter is applied, then the drawer's hand."""
    angle = rng.normal(0.0, _ROTATION_JITTER)
    scale = 1.0 + rng.normal(0.0, _SCALE_JITTER)
    shift = rng.normal(0.0, _SHIFT_JITTER, 2)
    moved = strokes + rng.normal(0.0, _POINT_JITTER, strokes.shape)
    moved += rng.normal(0.0, _STROKE_JITTER, (len(strokes), 1, 2))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn: _Array = np.array([[cos, sin], [-sin, cos]])
    return (moved @ turn) @ drawer.hand.T + shift


def _spline(points: _Array) -> _Array:
    """Sample Catmull-Rom splines: control points (strokes, n, 2) to points on the curves (strokes, samples, 2)."""
    ends = 2.0 * points[:, [0, -1]] - points[:, [1, -2]]
    padded = np.concatenate([ends[:, :1], points, ends[:, 1:]], axis=1)
    before, start, end, after = (padded[:, i : i + points.shape[1] - 1, None] for i in range(4))
    t = (np.arange(_STEPS_PER_SPAN) / _STEPS_PER_SPAN)[:, None]
    curve = start + 0.5 * t * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    return np.concatenate([curve.reshape(len(points), -1, 2), points[:, -1:]], axis=1)


def _render(points: _Array, pen_width: float, image_size: int) -> NDArray[np.uint8]:
    """Draw splines with a round pen: a pixel's ink depends on its distance to the nearest straight piece of a curve.

    The distance to a piece from a to b is the distance to a + t (b - a), where t is the projection onto the piece,
    clipped to [0, 1]. The edge fades over one pixel.
    """
    curves = _spline(points).astype(np.float32)
    a, d = curves[:, :-1].reshape(-1, 2, 1), np.diff(curves, axis=1).reshape(-1, 2, 1)
    centres = ((np.arange(image_size) + 0.5) * (2.0 / image_size) - 1.0).astype(np.float32)
    offset_x, offset_y = centres - a[:, 0], centres - a[:, 1]  # (pieces, image_size)
    along = (offset_y * d[:, 1])[:, :, None] + (offset_x * d[:, 0])[:, None, :]
    length2 = np.maximum((d * d).sum(axis=1), np.float32(1e-12))[:, :, None]
    t = np.clip(along / length2, 0.0, 1.0)
    distance2 = (offset_y**2)[:, :, None] + (offset_x**2)[:, None, :] + t * (t * length2 - 2.0 * along)
    distance = np.sqrt(np.maximum(distance2.min(axis=0), 0.0))
    ink = (pen_width / 2.0 - distance) * (image_size / 2.0) + 0.5
    image: NDArray[np.uint8] = np.rint(255.0 * ink.clip(0.0, 1.0)).astype(np.uint8)
    return image
