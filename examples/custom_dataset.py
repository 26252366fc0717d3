"""A dataset drawn by a program: polygons and stars, filled or hollow, with or without a dot in the middle.

    uv run python -m experiments run quickstart -c dataset=examples.custom_dataset:load_shapes

Photos in class folders need no code: `-c dataset=image-folder -c data-dir=...`.
"""

from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fedmeta_flwr.data import BuiltDataset
from fedmeta_flwr.seeding import generator

INSTANCES = 20
CORNERS, WAISTS, PEN, DOT = range(3, 9), (0.35, 0.55, 0.75, 1.0), ("hollow", "whole"), ("plain", "dotted")


def load_shapes(*, data_dir: Path | None, cache_dir: Path, image_size: int) -> BuiltDataset:
    """Return 96 classes of 20 drawings each, grouped by their number of corners; the folders are not used."""
    kinds = list(product(CORNERS, WAISTS, PEN, DOT))
    images = np.zeros((len(kinds), INSTANCES, 1, image_size, image_size), np.uint8)
    for index, kind in enumerate(kinds):
        for instance in range(INSTANCES):
            images[index, instance, 0] = _draw(kind, image_size, generator(0, "own-shapes", index, instance))
    names = tuple("-".join(map(str, kind)) for kind in kinds)
    return BuiltDataset(images, names, tuple(f"{kind[0]} corners" for kind in kinds))


def _draw(kind: tuple[int, float, str, str], side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw four times as large, near the middle and at a random angle, and scale down."""
    corners, waist, pen, dot = kind
    canvas = Image.new("L", (4 * side, 4 * side))
    x, y = (2 + rng.uniform(-0.3, 0.3, 2)) * side
    radius = rng.uniform(1.1, 1.5) * side
    angles = rng.uniform(0, 2 * np.pi) + np.pi * np.arange(2 * corners) / corners
    radii = radius * np.where(np.arange(2 * corners) % 2, waist * np.cos(np.pi / corners), 1.0)
    outline = list(zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True))
    draw = ImageDraw.Draw(canvas)
    draw.polygon(outline, fill=160 if pen == "whole" else 0, outline=255, width=side // 5)
    if dot == "dotted":
        draw.circle((x, y), side / 4, fill=255)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX))
