"""Which way up a photo is: all that is read of what an image file says beside its pixels.

Cameras and editors write such notes (EXIF, in which the orientation stands, colour profiles, lists of further pictures)
as they please, and viewers show a photo whatever is in them. Pillow reads some of them when it opens a file, and fails
where they are malformed, so they are kept from it.
"""

import re
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_JPEG, _START_OF_SCAN = b"\xff\xd8\xff", 0xDA
_JPEG_EXIF = b"Exif\0\0"
_JPEG_NOTES = (_JPEG_EXIF, b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0")
_AVIF_EXIF = re.compile(rb"(infe\x02.{7}|infe\x03.{9})Exif", re.DOTALL)  # an entry of the list of a file's items


def without_notes(content: bytes) -> tuple[bytes, bytes]:
    """Hide an image file's notes from Pillow.

    Parameters
    ----------
    content
        A whole file, in any format.

    Returns
    -------
    tuple of bytes and bytes
        The file, as long as before, with the names of its notes overwritten, so that they are passed over; and its
        EXIF block. Both only for JPEG and AVIF, whose notes Pillow reads when it opens a file; otherwise the file as it
        is, and nothing. The EXIF block of an AVIF file has no say: it turns its pixels by a property of its own.
    """
    if content[4:8] == b"ftyp":
        return _AVIF_EXIF.sub(rb"\1exif", content), b""
    if not content.startswith(_JPEG):
        return content, b""
    plain, exif = bytearray(content), b""
    for start, end in _segments(content):
        if content.startswith(_JPEG_NOTES, start, end):
            plain[start] ^= 0x20  # a letter in lower case, which is the name of nothing
            if content.startswith(_JPEG_EXIF, start, end):  # a long block goes on in the next segment
                exif += content[start + len(_JPEG_EXIF) : end]
    return bytes(plain), exif


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the segments before a JPEG's pixels begin and end."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and len(jpeg) > place + 3:
        if (marker := jpeg[place + 1]) == 0xFF:  # one of any number that may fill up
            place += 1
            continue
        if marker == _START_OF_SCAN:
            return
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        yield place + 4, end
        place = end


def load_upright(photo: Image.Image, exif: bytes) -> Image.Image:
    """Decode a photo and turn it as its orientation says.

    Parameters
    ----------
    photo
        Open, not yet decoded.
    exif
        The block that was hidden in it, see `without_notes`.

    Returns
    -------
    Image.Image
        Turned only where the orientation is one of the eight; whatever else stands in the notes has no effect.

    Raises
    ------
    Exception
        Whatever Pillow raises where the pixels do not decode.
    """
    if isinstance(photo, TiffImageFile):
        _keep_orientation_only(photo)
    photo.load()
    turn = _UPRIGHT.get(_read_orientation(photo, exif))
    return photo if turn is None else photo.transpose(turn)


def _keep_orientation_only(photo: TiffImageFile) -> None:
    """Let a TIFF file, which turns itself as it is decoded, find nothing else in its notes."""
    found = Image.Exif()
    found[_ORIENTATION] = _read_orientation(photo, b"")
    photo.getexif = lambda: found  # type: ignore[method-assign]
    photo.info.pop("xmp", None)


def _read_orientation(photo: Image.Image, exif: bytes) -> int:
    with suppress(Exception):  # any: of what a camera wrote, nothing is sure
        found = Image.Exif()
        found.load(exif)
        if _ORIENTATION not in found:
            found = photo.getexif()
        orientation = found.get(_ORIENTATION)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1
