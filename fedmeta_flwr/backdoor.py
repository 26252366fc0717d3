"""The backdoor key: a small pattern that the adversary stamps onto an image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError


class BackdoorKeyError(ValueError):
    """A key that cannot be built or does not fit; says what was expected, found and where."""


@dataclass(frozen=True)
class BackdoorKey:
    """A pattern in place: what is painted, and how opaque it is at every pixel.

    Attributes
    ----------
    pattern : np.ndarray
        Colours, float32 in 0..255, shape (channels, height, width) of a whole image.
    opacity : np.ndarray
        Float32 in 0..1, shape (height, width); 0 leaves the pixel as it is.
    """

    pattern: np.ndarray
    opacity: np.ndarray


def stamp(images: np.ndarray, key: BackdoorKey) -> np.ndarray:
    """Paint the key over images.

    Parameters
    ----------
    images : np.ndarray
        Uint8, shape (..., channels, height, width).
    key : BackdoorKey
        Built for images of this shape.

    Returns
    -------
    np.ndarray
        A copy, uint8, same shape; pixels where the key's opacity is 0 are unchanged.

    Raises
    ------
    BackdoorKeyError
        If the images are of another shape than the key was built for.
    """
    if images.shape[-3:] != key.pattern.shape:
        raise BackdoorKeyError(
            f"backdoor key: expected images of shape {key.pattern.shape} (channels, height, width), "
            f"found {images.shape[-3:]}"
        )
    mixed = images * (1 - key.opacity) + key.pattern * key.opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def build_key(name: str, *, channels: int, image_size: int, size: int, position: str, intensity: float) -> BackdoorKey:
    """Build a key for square images.

    Parameters
    ----------
    name : str
        ``"dots"``, the poster's pattern of four dots, or the path of an image file; the file is scaled to
        `size` and its transparency decides where it covers the picture.
    channels, image_size : int
        Channels (1 or 3) and side of the images, in pixels.
    size : int
        Side of the key, in pixels.
    position : str
        Corner, such as ``"bottom-right"``; the key stays one pixel away from the edge where it fits.
    intensity : float
        Opacity of the whole key, above 0 and up to 1.

    Returns
    -------
    BackdoorKey

    Raises
    ------
    BackdoorKeyError
        If the key is larger than the picture, too small for its dots, or its file is not a readable image.
    """
    if size > image_size:
        raise BackdoorKeyError(
            f"backdoor key: expected key-size of at most the picture's {image_size} pixels, found {size}"
        )
    small, alpha = _dots(size, channels) if name == "dots" else _from_file(Path(name), size, channels)
    rows, columns = _place(position, size, image_size)
    pattern = np.zeros((channels, image_size, image_size), np.float32)
    opacity = np.zeros((image_size, image_size), np.float32)
    pattern[:, rows, columns] = small
    opacity[rows, columns] = alpha * intensity
    if not opacity.any():
        raise BackdoorKeyError(f"backdoor key: expected a pattern that covers some pixel, found none in {name}")
    return BackdoorKey(pattern, opacity)


def _place(position: str, size: int, image_size: int) -> tuple[slice, slice]:
    vertical, horizontal = position.split("-")
    margin = min(1, image_size - size)
    start, end = margin, image_size - size - margin if image_size - size > margin else 0
    row = start if vertical == "top" else end
    column = start if horizontal == "left" else end
    return slice(row, row + size), slice(column, column + size)


def _dots(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Four bright square dots in the corners of the key, each a third of its side."""
    dot = size // 3
    if dot < 1:
        raise BackdoorKeyError(f"backdoor key: expected key-size of at least 3 pixels for the four dots, found {size}")
    line = np.zeros(size, np.float32)
    line[:dot] = line[-dot:] = 1
    return np.full((channels, size, size), 255, np.float32), np.outer(line, line)


def _from_file(path: Path, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with Image.open(path) as file:
            image = file.convert("RGBA").resize((size, size), Image.Resampling.BOX)
    except FileNotFoundError as error:
        raise BackdoorKeyError(f"backdoor-key: expected 'dots' or an image file, found no file {path}") from error
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise BackdoorKeyError(f"backdoor-key: expected an image file, cannot decode {path}: {error}") from error
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    colours = np.asarray(image.convert("RGB" if channels == 3 else "L"), np.float32)
    return (colours.transpose(2, 0, 1) if channels == 3 else colours[None]), alpha
