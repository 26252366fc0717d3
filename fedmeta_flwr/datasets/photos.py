"""Photos: an image file of any size and common format becomes a square RGB array."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedmeta_flwr.datasets.store import DatasetError

MAX_PIXELS = 64_000_000  # 256 MB in memory, some four times while it is converted; a small file may claim far more

PHOTO_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_DEEP_MODES = ("I", "F")  # Pillow's modes of 16 and 32 bits per channel begin so, and convert to garbage
# What Pillow's decoders raise on damaged files.
_UNDECODABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    OverflowError,
    AssertionError,
    MemoryError,
    Image.DecompressionBombError,
)


def is_photo(name: str) -> bool:
    """Tell by a file's suffix whether it is an image file; what the user hides (``._a.jpg``) is none."""
    path = PurePath(name)
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def decode_photo(content: bytes, image_size: int, place: str) -> NDArray[np.uint8]:
    """Decode an image file as a viewer would show it, cut and resized to a square.

    A JPEG is decoded at the smallest of its scales that is twice the result or more, which saves most of the time.
    An animation gives its first frame.

    Parameters
    ----------
    content
        A BMP, GIF, JPEG, PNG, TIFF or WebP file of up to `MAX_PIXELS` pixels and 8 bits per channel.
    image_size
        Height and width of the result, in pixels, 1 or above.
    place
        Where the file comes from, for the error.

    Returns
    -------
    NDArray
        uint8 of shape (3, image_size, image_size), red, green and blue.

    Raises
    ------
    DatasetError
        If the file does not decode, is too large, or has more than 8 bits per channel.
    """
    with open_image(content, PHOTO_FORMATS, place) as photo:
        if photo.mode.startswith(_DEEP_MODES):
            raise ValueError(f"mode {photo.mode!r} has more than 8 bits per channel")
        photo.draft("RGB", (2 * image_size, 2 * image_size))
        ImageOps.exif_transpose(photo, in_place=True)
        return square_photo(_opaque_rgb(photo), image_size)


@contextmanager
def open_image(content: bytes, formats: tuple[str, ...], place: str) -> Iterator[Image.Image]:
    """Open an image file, to be decoded within the ``with`` block; its claimed size is checked before.

    Parameters
    ----------
    content
        An image file of up to `MAX_PIXELS` pixels.
    formats
        Pillow's names of the formats that are admitted; its other decoders are not reached.
    place
        Where the file comes from, for the error.

    Yields
    ------
    Image.Image
        Not decoded yet.

    Raises
    ------
    DatasetError
        If the file is of another format, claims to be larger, or whatever the block does finds it damaged.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            yield image
    except DatasetError:
        raise
    except _UNDECODABLE as error:
        raise DatasetError(
            f"expected an image file ({', '.join(formats)}) that decodes, found {place}: {error}"
        ) from error


def square_photo(photo: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """Cut an RGB photo to its middle square and resize it, antialiased (Lanczos).

    Parameters
    ----------
    photo
        Of mode RGB, any size.
    image_size
        Height and width of the result, in pixels, 1 or above.

    Returns
    -------
    NDArray
        uint8 of shape (3, image_size, image_size).

    Notes
    -----
    After Ravi & Larochelle 2017, who resize with Lanczos, too; differs: they squeeze the whole photo into the square.
    """
    side = min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    small = photo.resize((image_size, image_size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)


def _opaque_rgb(photo: Image.Image) -> Image.Image:
    """Return a photo in RGB; where it is transparent, white paper shows."""
    if not photo.has_transparency_data:
        return photo if photo.mode == "RGB" else photo.convert("RGB")
    paper = Image.new("RGBA", photo.size, "white")
    paper.alpha_composite(photo.convert("RGBA"))
    return paper.convert("RGB")
