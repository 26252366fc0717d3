"""The orientation of a photo: the only metadata of an image file that is read.

Here, "notes" are the metadata: EXIF data (with the orientation), colour profiles, lists of further images. Cameras and
editors often write malformed notes, and viewers show the photo nevertheless. Pillow reads some notes when it opens a
file, and fails if they are malformed; therefore they are hidden from it.
"""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

from PIL import Image
from PIL.PngImagePlugin import PngStream
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
_JPEG_SHORT_NOTES = (b"JFIF", b"Adobe")  # have 12 bytes or more; decoders ignore shorter ones
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")
_TIFF_NOTES = {
    *(269, 270, 271, 272, 282, 283, 285, 286, 287, 296, 297, 305, 306, 315, 316),  # names, resolution, pages, dates
    *(33432, 33550, 33723, 34377, 34665, 34675, 34853, 37724),  # rights, place, IPTC, Photoshop, EXIF, ICC, GPS
}
_TIFF_LAST_OF_PIXELS = 532  # ReferenceBlackWhite
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
        The file without its notes, or with their names overwritten so that they are ignored; and the EXIF block, if it
        is a JPEG file. PNG and TIFF files keep the notes that hold their orientation. Formats other than JPEG, PNG,
        TIFF and AVIF are unchanged, because Pillow does not read their notes when it opens a file. The EXIF block of an
        AVIF file is not needed, because a separate property of the file holds the orientation.
    """
    if content.startswith(_PNG):
        return b"".join(_png_pixels(content)), b""
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff_pixels(content), b""
    if content[4:8] == b"ftyp":
        return _AVIF_EXIF.sub(rb"\1exif", content), b""
    if not content.startswith(_JPEG):
        return content, b""
    plain, exif = bytearray(content), b""
    for start, end in _segments(content):
        is_short = end - start < 12 and content.startswith(_JPEG_SHORT_NOTES, start, end)
        if is_short or content.startswith(_JPEG_NOTES, start, end):
            plain[start] ^= 0x20  # changes the case of a letter, so that the name is unknown
            if content.startswith(_JPEG_EXIF, start, end):  # a long block continues in the next segment
                exif += content[start + len(_JPEG_EXIF) : end]
    return bytes(plain), exif


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of the content of each segment before a JPEG's pixels."""
    place = 2
    while jpeg[place : place + 1] == b"\xff" and len(jpeg) > place + 3:
        if (marker := jpeg[place + 1]) == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == _START_OF_SCAN:
            return
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        yield place + 4, end
        place = end


def _png_pixels(png: bytes) -> Iterator[bytes]:
    """Yield the chunks of a PNG file with its pixels and its orientation; of an animation, only the first frame."""
    file, place = io.BytesIO(png), len(_PNG)
    notes = PngStream(file)
    yield _PNG
    while re.fullmatch(rb"[A-Za-z]{4}", kind := png[place + 4 : place + 8]):
        start, end = place + 8, place + 8 + int.from_bytes(png[place : place + 4], "big")
        if kind in _PNG_PIXELS:
            yield png[place : end + 4]
        elif kind == b"eXIf" or (kind in _PNG_TEXTS and png[start:end].split(b"\0")[0] in _PNG_ORIENTATION_TEXTS):
            with suppress(Exception):  # only notes that Pillow accepts
                file.seek(start)
                notes.call(kind, start, end - start)
                checksum = zlib.crc32(png[place + 4 : end])
                yield png[place:end] + checksum.to_bytes(4, "big")
        place = end + 4
        if kind == b"IEND":
            return
    yield png[place:]  # truncated or damaged; Pillow decides


def _tiff_pixels(tiff: bytes) -> bytes:
    """Remove the notes from the list of tags of a TIFF file's first image."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    # Bytes of an offset, of the number of entries, and of an entry: first in BigTIFF, then in ordinary TIFF.
    offset, number, width = (8, 8, 20) if b"+" in tiff[:4] else (4, 2, 12)
    start = int.from_bytes(tiff[offset : 2 * offset], order)
    first = start + number
    end = first + width * int.from_bytes(tiff[start:first], order)
    if end + offset > len(tiff):
        return tiff
    entries = [(int.from_bytes(tiff[at : at + 2], order), tiff[at : at + width]) for at in range(first, end, width)]
    kept = [entry for entry in entries if entry[0] not in _TIFF_NOTES]
    # Pillow stops at a damaged entry: those for the pixels come first, then the orientation, then the rest.
    kept.sort(key=lambda entry: (entry[0] > _TIFF_LAST_OF_PIXELS, entry[0] == _ORIENTATION))
    listed = b"".join(entry for _, entry in kept)
    changed = len(kept).to_bytes(number, order) + listed + tiff[end : end + offset]
    return tiff[:start] + changed.ljust(end + offset - start, b"\0") + tiff[end + offset :]


def load_upright(photo: Image.Image, exif: bytes) -> Image.Image:
    """Decode a photo, and turn it according to its orientation.

    Parameters
    ----------
    photo
        An open image that is not decoded yet.
    exif
        The EXIF block that was hidden from Pillow; see `without_notes`.

    Returns
    -------
    Image.Image
        The photo, turned only if the orientation is one of the eight valid ones; other notes have no effect.

    Raises
    ------
    Exception
        Any exception of Pillow if the pixels do not decode.
    """
    if isinstance(photo, TiffImageFile):
        _keep_orientation_only(photo)
    photo.load()
    turn = _UPRIGHT.get(_read_orientation(photo, exif))
    return photo if turn is None else photo.transpose(turn)


def _keep_orientation_only(photo: TiffImageFile) -> None:
    """Remove all notes but the orientation from a TIFF file, which Pillow turns while it decodes it."""
    found = Image.Exif()
    found[_ORIENTATION] = _read_orientation(photo, b"")
    photo.getexif = lambda: found  # type: ignore[method-assign]
    photo.info.pop("xmp", None)


def _read_orientation(photo: Image.Image, exif: bytes) -> int:
    with suppress(Exception):  # any exception: a camera may have written anything
        found = Image.Exif()
        found.load(exif)
        if _ORIENTATION not in found:
            found = photo.getexif()
        orientation = found.get(_ORIENTATION)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1
