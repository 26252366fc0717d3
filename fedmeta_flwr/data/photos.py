"""Photos: converts an image file of any size and common format to a square RGB array."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from fedmeta_flwr.data.image_files import PHOTO_FORMATS
from fedmeta_flwr.data.orientation import load_upright, without_notes
from fedmeta_flwr.data.store import DatasetError

MAX_PIXELS = 64_000_000  # 256 MB in memory, about four times as much during conversion; a small file may claim far more

_HEIC = re.compile(rb".{4}ftyp.{0,40}?he[iv][cxms]", re.DOTALL)


def decode_photo(content: bytes, image_size: int, place: str) -> NDArray[np.uint8]:
    """Decode an image file as a viewer would show it, and crop and resize it to a square.

    A JPEG is decoded at the smallest of its scales that is at least twice the size of the result, which saves most of
    the time. Transparent parts become white. Only the first frame of an animation, or the first image of a file with
    several, is used.

    Parameters
    ----------
    content
        A file in one of `PHOTO_FORMATS`, of up to `MAX_PIXELS` pixels.
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
        As `read_photo`.
    """
    return square_photo(_on_white(read_photo(content, place, 2 * image_size)), image_size)


def read_photo(content: bytes, place: str, smallest_side: int | None = None) -> Image.Image:
    """Decode an image file, and turn it upright; only the orientation in its EXIF block is used.

    Parameters
    ----------
    content
        A file in one of `PHOTO_FORMATS`, of up to `MAX_PIXELS` pixels. More than 8 bits per channel are rounded to 8.
    place
        Where the file comes from, for the error.
    smallest_side
        In pixels: a JPEG may be decoded at a smaller scale, down to this height and width. None: at full size.

    Returns
    -------
    Image.Image
        Of mode RGBA if it has transparency, and of mode RGB otherwise.

    Raises
    ------
    DatasetError
        If the file does not decode, is too large, or holds numbers without a defined white (32 bits per channel).
    """
    plain, exif = without_notes(content)
    with open_image(plain, PHOTO_FORMATS, place) as photo:
        if smallest_side is not None:
            photo.draft("RGB", (smallest_side, smallest_side))
        upright = _with_8_bits(load_upright(photo, exif), photo)
        return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


@contextmanager
def open_image(content: bytes, formats: tuple[str, ...], place: str) -> Iterator[Image.Image]:
    """Open an image file, to be decoded within the ``with`` block; its claimed size is checked first.

    Parameters
    ----------
    content
        An image file of up to `MAX_PIXELS` pixels.
    formats
        Pillow's names of the formats that are admitted; its other decoders are never used.
    place
        Where the file comes from, for the error.

    Yields
    ------
    Image.Image
        The image, not decoded yet.

    Raises
    ------
    DatasetError
        If the file is of another format, claims more pixels, or turns out to be damaged within the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings do not name the file
            with Image.open(io.BytesIO(content), formats=formats) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
                yield image
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders may raise any on a damaged file
        found = _describe(content) if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
        raise DatasetError(
            f"expected an image file ({', '.join(formats)}) that decodes, found {place}: {found}"
        ) from error


def _describe(content: bytes) -> str:
    """Describe a file that no decoder recognises."""
    if not content:
        return "an empty file"
    if _HEIC.match(content):
        return "a HEIC photo, which cannot be read here; save it as JPEG"
    return f"another format, or a damaged header; it begins with {content[:12]!r}"


def square_photo(photo: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """Crop an RGB photo to its central square, and resize it with antialiasing (Lanczos).

    Parameters
    ----------
    photo
        A photo of mode RGB and any size.
    image_size
        Height and width of the result, in pixels, 1 or above.

    Returns
    -------
    NDArray
        uint8 of shape (3, image_size, image_size).

    Notes
    -----
    Photos are resized with Lanczos, as in Ravi & Larochelle 2017. Differs: they squeeze the whole photo into a square.
    """
    side = min(photo.size)
    left, top = (photo.width - side) / 2, (photo.height - side) / 2
    small = photo.resize((image_size, image_size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)


def _with_8_bits(photo: Image.Image, source: Image.Image) -> Image.Image:
    """Return a grey photo of more than 8 bits rounded to 8, any other photo unchanged; `source` is its open file."""
    if not photo.mode.startswith(("I", "F")):
        return photo
    # Pillow stretches the range of a PPM file to 16 bits; in other formats, 32 bits are measurements, not shades.
    if not (photo.mode.startswith("I;16") or (photo.mode == "I" and source.format == "PPM")):
        raise ValueError(f"mode {photo.mode!r} has numbers without a defined range; save it with 8 or 16 bits")
    values = np.asarray(photo).astype(np.uint32)
    white, is_negative = 65535, False
    if isinstance(source, TiffImageFile):
        white = 2 ** source.tag_v2.get(BITSPERSAMPLE, (16,))[0] - 1
        is_negative = source.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0
    shades = ((values * 255 + white // 2) // white).astype(np.uint8)
    grey = Image.fromarray(255 - shades if is_negative else shades)
    if (clear := source.info.get("transparency")) is not None:  # the shade that a PNG file leaves out
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _on_white(photo: Image.Image) -> Image.Image:
    """Return an RGB or RGBA photo in RGB; transparent parts become white."""
    if photo.mode == "RGB":
        return photo
    paper = Image.new("RGBA", photo.size, "white")
    paper.alpha_composite(photo)
    return paper.convert("RGB")
