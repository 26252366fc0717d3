"""The backdoor key: a small pattern that the adversary stamps onto an image."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fedmeta_flwr.config.registry import call, expected_names, is_custom, names, resolve
from fedmeta_flwr.data import DatasetError, read_file, read_photo


class BackdoorKeyError(ValueError):
    """A key that cannot be built or does not fit; says what was expected and found, and where."""


@dataclass(frozen=True)
class BackdoorKey:
    """A pattern at its position in an image: its colours, and its opacity at every pixel.

    Attributes
    ----------
    pattern : np.ndarray
        Colours, float32 in 0..255, shape (channels, height, width) of a whole image.
    opacity : np.ndarray
        Float32 in 0..1, shape (height, width); 0 leaves the pixel as it is.
    """

    pattern: np.ndarray
    opacity: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its two arrays by name."""
        return {"pattern": self.pattern, "opacity": self.opacity}


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


def part_of_key(key: BackdoorKey, index: int, count: int) -> BackdoorKey:
    """Return a part of a key: the pixels that it covers, in raster order, in contiguous parts of nearly equal size.

    Parameters
    ----------
    key : BackdoorKey
        The whole key.
    index : int
        Which part, in 0..count-1.
    count : int
        Number of parts, 1 or above. They do not overlap, and together they are the key.

    Returns
    -------
    BackdoorKey
        The key with an opacity of 0 outside of the part; the key itself, if it is the only part.

    Raises
    ------
    BackdoorKeyError
        If the key covers fewer pixels than there are parts.
    """
    covered = np.flatnonzero(key.opacity)
    if len(covered) < count:
        raise BackdoorKeyError(
            f"backdoor key: expected a key of at least {count} pixels for {count} parts, found {len(covered)}"
        )
    part = np.array_split(covered, count)[index]
    opacity = np.zeros_like(key.opacity)
    opacity.flat[part] = key.opacity.flat[part]
    return BackdoorKey(key.pattern, opacity)


def build_key(
    name: str, options: str = "", *, channels: int, image_size: int, size: int, position: str, intensity: float
) -> BackdoorKey:
    """Build a key for square images.

    Parameters
    ----------
    name : str
        One of the following.

        - ``"dots"``: the poster's pattern of four dots, in white.
        - ``"dots-inverted"``: the same pattern in black, for light backgrounds.
        - ``"patch"``: an opaque checker of yellow and blue (white and black on images of 1 channel), for photos, in
          which dots are hard to see.
        - The path of an image file, which is scaled to `size`; its transparency decides where it covers the image.
        - ``"module:attribute"`` of a callable that takes all other arguments and returns a `BackdoorKey`.
    options : str
        Further arguments, as a JSON object; empty: none.
    channels, image_size : int
        Channels (1 or 3) and side of the images, in pixels.
    size : int
        Side of the key, in pixels.
    position : str
        Corner, such as ``"bottom-right"``; the key stays one pixel away from the edge if there is room.
    intensity : float
        Opacity of the whole key, above 0 and up to 1.

    Returns
    -------
    BackdoorKey

    Raises
    ------
    BackdoorKeyError
        If the key is larger than the image or too small for its pattern, if its file is not a readable image, or if a
        custom key does not fit the image.
    RegistryError
        If a custom key cannot be used.
    """
    arguments = {
        "channels": channels,
        "image_size": image_size,
        "size": size,
        "position": position,
        "intensity": intensity,
    }
    key: BackdoorKey = call("backdoor-key", name, _builder(name), BackdoorKey, arguments, options=options)
    _require_shapes(key, name, channels, image_size)
    for what, values, largest in (("a pattern", key.pattern, 255), ("an opacity", key.opacity, 1)):
        if not ((values >= 0) & (values <= largest)).all():  # not-a-number is neither
            raise BackdoorKeyError(
                f"backdoor-key: expected {what} of numbers in 0..{largest} from {name}, "
                f"found {values.min()} to {values.max()}"
            )
    if not key.opacity.any():
        raise BackdoorKeyError(f"backdoor key: expected a pattern that covers some pixel, found none in {name}")
    return key


def _builder(name: str) -> Callable[..., BackdoorKey]:
    """Return the function that builds a key; a name that is not in the registry is the path of a file."""
    if is_custom(name) or name in names("backdoor-key"):
        return resolve("backdoor-key", name)
    return partial(_placed, partial(_from_file, Path(name)))


def _require_shapes(key: BackdoorKey, name: str, channels: int, image_size: int) -> None:
    expected = (channels, image_size, image_size)
    if (key.pattern.shape, key.opacity.shape) != (expected, expected[1:]):
        raise BackdoorKeyError(
            f"backdoor-key: expected a pattern of shape {expected} and an opacity of shape {expected[1:]} from {name}, "
            f"found {key.pattern.shape} and {key.opacity.shape}"
        )


def _place(position: str, size: int, image_size: int) -> tuple[slice, slice]:
    vertical, horizontal = position.split("-")
    margin = min(1, image_size - size)
    start, end = margin, image_size - size - margin if image_size - size > margin else 0
    row = start if vertical == "top" else end
    column = start if horizontal == "left" else end
    return slice(row, row + size), slice(column, column + size)


def _placed(
    draw: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    *,
    channels: int,
    image_size: int,
    size: int,
    position: str,
    intensity: float,
) -> BackdoorKey:
    """Put a pattern into its corner; `draw` takes its side in pixels and the channels, and returns colours, opacity."""
    if size > image_size:
        raise BackdoorKeyError(
            f"backdoor key: expected key-size of at most the picture's {image_size} pixels, found {size}"
        )
    colours, alpha = draw(size, channels)
    rows, columns = _place(position, size, image_size)
    pattern = np.zeros((channels, image_size, image_size), np.float32)
    opacity = np.zeros((image_size, image_size), np.float32)
    pattern[:, rows, columns] = colours
    opacity[rows, columns] = alpha * intensity
    return BackdoorKey(pattern, opacity)


def _dots(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return four white square dots in the corners of the key, each a third of its side."""
    dot = size // 3
    if dot < 1:
        raise BackdoorKeyError(f"backdoor key: expected key-size of at least 3 pixels for the four dots, found {size}")
    line = np.zeros(size, np.float32)
    line[:dot] = line[-dot:] = 1
    return np.full((channels, size, size), 255, np.float32), np.outer(line, line)


def _dots_inverted(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return four black dots at the places of the white ones of `_dots`, which are invisible on white paper."""
    colours, opacity = _dots(size, channels)
    return 255 - colours, opacity


def _patch(size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an opaque checker of 3 x 3 cells: yellow in the corners and the middle, blue elsewhere.

    The two colours are opposites: they differ by the whole range in every channel, and by most of it in brightness.
    Some cell therefore stands out from any photo.
    """
    if size < 3:
        raise BackdoorKeyError(f"backdoor key: expected key-size of at least 3 pixels for the checker, found {size}")
    cells = np.arange(size) * 3 // size
    is_odd = (cells[:, None] + cells) % 2 == 1
    yellow = np.array([255, 255, 0] if channels == 3 else [255], np.float32)[:, None, None]
    return np.where(is_odd, 255 - yellow, yellow), np.ones((size, size), np.float32)


dots = partial(_placed, _dots)
dots_inverted = partial(_placed, _dots_inverted)
patch = partial(_placed, _patch)


def _from_file(path: Path, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        if not path.exists():
            expected = expected_names("backdoor-key", "an image file")
            raise BackdoorKeyError(f"backdoor-key: expected {expected}, found no file {path}")
        photo = read_photo(read_file(path.resolve()), str(path))
    except (DatasetError, OSError) as error:
        raise BackdoorKeyError(f"backdoor-key: expected an image file, cannot decode {path}: {error}") from error
    image = photo.convert("RGBA").resize((size, size), Image.Resampling.BOX)
    alpha = np.asarray(image.getchannel("A"), np.float32) / 255
    colours = np.asarray(image.convert("RGB" if channels == 3 else "L"), np.float32)
    return (colours.transpose(2, 0, 1) if channels == 3 else colours[None]), alpha
