"""Of a photo's metadata only the orientation is used, and the rest can do no harm."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fedmeta_flwr.data import DatasetError
from fedmeta_flwr.data.photos import decode_photo, read_photo

SIDE = 16
ORIENTATION, MAKE, X_RESOLUTION, UNIT, XMP = 0x0112, 0x010F, 0x011A, 0x0128, 0x02BC
EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
BYTE, ASCII, SHORT, LONG, FRACTION = 1, 2, 3, 4, 5
AVIF_ROOM = 256  # bytes of the block in the AVIF file below

TURNED = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))
Entry = tuple[int, int, int, bytes]


def photo() -> Image.Image:
    """Return four large spots of colour, so that no two orientations are alike, also after JPEG."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:8, :8], pixels[:8, 8:], pixels[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return Image.fromarray(pixels)


def encode(file_format: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    quality = {"quality": 100} if file_format in ("WEBP", "JPEG", "AVIF", "MPO") else {}
    (image or photo()).save(file, file_format, **quality | options)
    return file.getvalue()


def block(*entries: Entry, order: str = "<") -> bytes:
    """Return an EXIF block of tags, types, counts, and four bytes of value."""
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    head = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + body + bytes(16)


def with_exif(file_format: str, exif: bytes) -> bytes:
    """Encode the photo with an unchanged EXIF block, whatever it contains."""
    if file_format == "AVIF":  # Pillow reads the block that it writes, so another one is put into its place
        content = encode("AVIF", exif=block((MAKE, ASCII, 4, b"abc\0")).ljust(AVIF_ROOM, b"\0"))
        start = content.index(b"II*\0\x08")
        exif = exif.removeprefix(b"Exif\0\0")[: AVIF_ROOM - 6]
        return content[:start] + exif + content[start + len(exif) :]
    return encode(file_format, exif=exif)


def tiff(*entries: Entry) -> bytes:
    """Return the photo as a TIFF file with more entries in its list, which in a TIFF file is its EXIF block."""
    content = encode("TIFF")
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    listed = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    listed += content[start + 2 : start + 2 + 12 * count]
    head = content[:4] + struct.pack("<I", len(content))
    return head + content[8:] + struct.pack("<H", count + len(entries)) + listed + bytes(16)


def turned(method: Image.Transpose | None) -> np.ndarray:
    image = photo() if method is None else photo().transpose(method)
    return np.asarray(image).transpose(2, 0, 1)


def assert_like(content: bytes, expected: np.ndarray) -> None:
    """Compare in the middle of each spot, where no format that loses something is far off."""
    found = decode_photo(content, SIDE, "a")[:, 4::8, 4::8]
    np.testing.assert_allclose(found.astype(int), expected[:, 4::8, 4::8], atol=20)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_photo_is_turned_as_pillow_turns_it(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = photo().crop((0, 0, 16, 12))
    more = {"save_all": True, "append_images": [photo()]} if file_format == "MPO" else {}
    content = encode(file_format, image, exif=exif, **more)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.asarray(read_photo(content, "a")), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize(
    "other",
    [
        (MAKE, FRACTION, 1, struct.pack("<I", 38)),
        (UNIT, BYTE, 1, b"\x02\0\0\0"),
        (GPS_IFD, LONG, 1, b"\xff\xff\xff\xff"),
        (GPS_IFD, 9, 1, b"\xff\xff\xff\xff"),
        (EXIF_IFD, ASCII, 9, b"\x08\0\0\0"),
        (INTEROPERABILITY_IFD, SHORT, 3, b"\0\0\0\0"),
        (XMP, LONG, 1, b"\0\0\0\0"),
        (MAKER_NOTE, 99, 2**32 - 1, b"\xff\xff\xff\xff"),
    ],
)
def test_whatever_else_the_exif_holds_a_photo_is_turned_upright(other: Entry) -> None:
    expected = turned(Image.Transpose.ROTATE_270)
    for file_format in ("JPEG", "PNG", "WEBP"):
        assert_like(with_exif(file_format, block(TURNED, other)), expected)
    assert_like(tiff(TURNED, other), expected)
    assert_like(with_exif("AVIF", block(TURNED, other)), turned(None))  # it has a separate property for this


def test_a_resolution_of_another_type_does_not_hide_the_orientation() -> None:
    exif = block(TURNED, (X_RESOLUTION, BYTE, 1, bytes(4)), (UNIT, SHORT, 1, b"\x02\0\0\0"))
    assert_like(with_exif("JPEG", exif), turned(Image.Transpose.ROTATE_270))


def test_an_avif_file_is_turned_by_its_property() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # which Pillow writes as the property
    assert_like(encode("AVIF", exif=exif), turned(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize(
    "value",
    [
        (SHORT, 0, bytes(4)),
        (ASCII, 2, b"6\0\0\0"),
        (BYTE, 1, b"\x06\0\0\0"),
        (SHORT, 1, struct.pack("<HH", 9, 0)),
        (SHORT, 1, struct.pack("<HH", 0, 0)),
        (11, 1, struct.pack("<f", float("nan"))),
        (FRACTION, 1, struct.pack("<I", 2**31)),
    ],
)
def test_an_orientation_that_is_none_of_the_eight_turns_nothing(value: tuple[int, int, bytes]) -> None:
    for file_format in ("JPEG", "PNG", "WEBP"):
        assert_like(with_exif(file_format, block((ORIENTATION, *value))), turned(None))
    assert_like(tiff((ORIENTATION, *value)), turned(None))


def test_an_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    for file_format in ("JPEG", "WEBP"):
        assert_like(encode(file_format, xmp=xmp), turned(Image.Transpose.ROTATE_270))
        assert_like(
            encode(file_format, xmp=xmp, exif=block((ORIENTATION, SHORT, 1, b"\x01\0\0\0"))),
            turned(None),
        )


@pytest.mark.parametrize(
    ("marker", "notes"),
    [
        (0xE1, b"Exif\0\0"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0"),
        (0xE2, b"MPF\0MM\0*\0\0\0\x08\0\x01\xb0\x01\0\x04\0\0\0\x01\0\0\0\x02"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        (0xEC, b"Ducky"),
        (0xE0, b"JFIF\0"),
        (0xEE, b"Adobe"),
    ],
)
def test_notes_that_are_cut_short_do_not_keep_a_jpeg_from_being_read(marker: int, notes: bytes) -> None:
    plain = with_exif("JPEG", block(TURNED))
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(notes) + 2) + notes
    for padding in (b"", b"\xff\xff"):  # any number of bytes may fill up before a segment
        assert_like(plain[:2] + padding + segment + plain[2:], turned(Image.Transpose.ROTATE_270))


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes], flaw: int = 0, late: bool = False) -> bytes:
    """Put chunks behind a PNG file's head, or before its end; a flaw is added to their checksums."""
    place = len(png) - 12 if late else 33
    more = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ flaw)
        for kind, data in chunks
    )
    return png[:place] + more + png[place:]


LARGE = zlib.compress(bytes(2**21))
XMP_TEXT = b'<x:xmpmeta tiff:Orientation="6"/>'


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("flaw", [0, 1])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"iCCP", b"CMYK\0\0" + LARGE),
        (b"iCCP", b"CMYK\0\x01"),
        (b"iCCP", b""),
        (b"zTXt", b"a\0\0" + LARGE),
        (b"zTXt", b"Raw profile type exif\0\0" + LARGE),
        (b"zTXt", b"a\0\x07"),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + LARGE),
        (b"tEXt", b"transparency\0no"),
        (b"tEXt", b"bbox\0all"),
        *((kind, b"ab") for kind in (b"tEXt", b"pHYs", b"gAMA", b"cHRM", b"acTL", b"fcTL")),
        (b"sRGB", b""),
        (b"fcTL", bytes(4) + b"\xff" * 22),
    ],
)
def test_damaged_or_large_notes_of_a_png_leave_its_pixels_and_its_orientation(
    chunk: tuple[bytes, bytes], flaw: int, late: bool
) -> None:
    content = with_chunks(with_exif("PNG", block(TURNED)), chunk, flaw=flaw, late=late)
    assert_like(content, turned(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_TEXT),
        (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(XMP_TEXT)),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n0\n" + block(TURNED).hex().encode())),
    ],
)
def test_an_orientation_in_the_text_of_a_png_counts(chunk: tuple[bytes, bytes], late: bool) -> None:
    assert_like(with_chunks(encode("PNG"), chunk, late=late), turned(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize(
    "notes",
    [
        ((X_RESOLUTION, BYTE, 1, bytes(4)), (UNIT, SHORT, 1, b"\x03\0\0\0")),
        ((X_RESOLUTION, ASCII, 2, b"a\0\0\0"), (UNIT, SHORT, 1, b"\x03\0\0\0")),
    ],
)
def test_a_resolution_of_another_type_does_not_keep_a_tiff_from_being_read(notes: tuple[Entry, ...]) -> None:
    assert_like(tiff(TURNED, *notes), turned(Image.Transpose.ROTATE_270))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(
        [b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"acTL", b"fcTL"]
    ),
    st.sampled_from([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE]),
    st.sampled_from(
        [b"", b"JFIF\0", b"Adobe", b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\x008BIM", b"a\0\0", b"bbox\0"]
    ),
    st.binary(max_size=30),
    st.integers(0, 1),
)
def test_no_note_of_a_png_or_jpeg_changes_its_pixels(
    kind: bytes, marker: int, name: bytes, noise: bytes, flaw: int
) -> None:
    png = with_exif("PNG", block(TURNED))
    expected = np.asarray(read_photo(png, "a"))
    found = read_photo(with_chunks(png, (kind, name + noise), flaw=flaw), "a")
    np.testing.assert_array_equal(np.asarray(found), expected)
    jpeg = encode("JPEG")
    note = name + noise[: max(11 - len(name), 0)]  # shorter than an Adobe note that says how colours are coded
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(note) + 2) + note
    found = read_photo(jpeg[:2] + segment + jpeg[2:], "a")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(read_photo(jpeg, "a")))


@pytest.mark.parametrize("big", [False, True])
def test_notes_of_a_tiff_leave_its_pixels_and_its_orientation(big: bool) -> None:
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera of a long name", 6
    content = encode("TIFF", exif=exif, dpi=(72, 72), description="a long description", big_tiff=big)
    assert_like(content, turned(Image.Transpose.ROTATE_270))
    name = content.index(struct.pack("<HH", MAKE, ASCII))
    size = 8 if big else 4
    damaged = content[: name + 4 + size] + b"\xff" * size + content[name + 4 + 2 * size :]  # it leads past the end
    assert_like(damaged, turned(Image.Transpose.ROTATE_270))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([MAKE, X_RESOLUTION, UNIT, EXIF_IFD, GPS_IFD, 270, 305, 33723, 34377, 34675]),
    st.integers(0, 19),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=4, max_size=4),
)
def test_no_note_of_a_tiff_changes_its_pixels(tag: int, kind: int, count: int, value: bytes) -> None:
    found = read_photo(tiff((tag, kind, count, value), (UNIT, SHORT, 1, b"\3\0\0\0")), "a")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(photo()))


def test_the_exif_of_a_further_picture_does_not_turn_the_first() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    second = Image.open(io.BytesIO(encode("JPEG", exif=exif)))
    assert_like(encode("JPEG") + encode("JPEG", exif=exif), turned(None))
    assert_like(encode("MPO", save_all=True, append_images=[second]), turned(None))


entries = st.lists(
    st.tuples(
        st.sampled_from([MAKE, X_RESOLUTION, UNIT, XMP, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, MAKER_NOTE, 0x0132]),
        st.integers(0, 19),
        st.sampled_from([0, 1, 2, 9, 2**32 - 1]),
        st.sampled_from([struct.pack("<I", place) for place in (0, 8, 26, 2**32 - 1)])
        | st.binary(min_size=4, max_size=4),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60), entries, st.sampled_from("<>"), st.integers(0, 100))
@example(b"II*\0", [], "<", 0)
def test_no_exif_block_keeps_pixels_from_being_read(noise: bytes, listed: list[Entry], order: str, cut: int) -> None:
    plain, upright = turned(None), turned(Image.Transpose.ROTATE_270)
    for file_format in ("JPEG", "PNG", "WEBP", "AVIF"):
        for exif in (b"Exif\0\0" + noise, block(*listed, order=order)[: -cut or None]):
            assert_like(with_exif(file_format, exif), plain)
        if order == "<" and file_format != "AVIF":
            assert_like(with_exif(file_format, block(TURNED, *listed)), upright)
    assert_like(tiff(*listed), plain)
    assert_like(tiff(TURNED, *listed), upright)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "GIF", "BMP"]), st.data())
def test_damage_to_a_head_is_read_or_refused_and_raises_nothing_else(file_format: str, data: st.DataObject) -> None:
    options: dict[str, Any] = {"exif": block(TURNED)} if file_format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF") else {}
    content = bytearray(encode(file_format, **options))
    for place in data.draw(st.lists(st.integers(0, min(len(content), 400) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        assert decode_photo(bytes(content), SIDE, "a").shape == (3, SIDE, SIDE)
    except DatasetError as error:
        assert "found a: " in str(error)  # noqa: PT017
