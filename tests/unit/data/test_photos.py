import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.data import DatasetError, photos
from fedmeta_flwr.data.image_files import PHOTO_FORMATS
from fedmeta_flwr.data.photos import decode_photo, read_photo

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encode(photo: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, file_format, **options)
    return file.getvalue()


def plain(colour: tuple[int, ...], size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def stripes() -> Image.Image:
    """Return 24 x 8 pixels: red, green and blue squares from left to right."""
    photo = plain(GREEN, (24, 8))
    photo.paste(RED, (0, 0, 8, 8))
    photo.paste(BLUE, (16, 0, 24, 8))
    return photo


def claimed_png(side: int) -> bytes:
    """Return a small PNG whose header claims `side` x `side` pixels."""
    content = encode(plain(RED))
    head = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *((name, {}) for name in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "JPEG2000", "PPM")),
        *((name, {"quality": 100}) for name in ("WEBP", "AVIF")),
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_all_common_formats_give_red_green_and_blue_planes(file_format: str, options: dict[str, Any]) -> None:
    content = encode(plain((255, 128, 0), (12, 12)), file_format, **options)
    decoded = decode_photo(content, 4, "a")
    assert decoded.shape == (3, 4, 4)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded.mean(axis=(1, 2)), (255, 128, 0), atol=3)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_of_an_animation_or_a_file_of_several_pictures_the_first_counts(file_format: str) -> None:
    content = encode(plain(RED), file_format, save_all=True, append_images=[plain(BLUE), plain(GREEN)])
    with Image.open(io.BytesIO(content)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    np.testing.assert_allclose(decode_photo(content, 2, "a")[:, 0, 0], RED, atol=3)


@pytest.mark.parametrize("image_size", [4, 60])
def test_the_first_of_several_pictures_of_a_phone_is_that_of_a_plain_jpeg(image_size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 160, 3), dtype=np.uint8)
    several = encode(Image.fromarray(pixels), "MPO", save_all=True, append_images=[plain(BLUE, (160, 100))])
    alone = encode(Image.fromarray(pixels), "JPEG")
    np.testing.assert_array_equal(decode_photo(several, image_size, "a"), decode_photo(alone, image_size, "a"))


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_not_square_is_cut_to_its_middle(turned: bool) -> None:
    photo = stripes().rotate(90, expand=True) if turned else stripes()
    decoded = decode_photo(encode(photo), 8, "a")
    np.testing.assert_array_equal(decoded, np.asarray(plain(GREEN)).transpose(2, 0, 1))


def test_a_photo_of_the_wanted_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    decoded = decode_photo(encode(Image.fromarray(pixels)), 16, "a")
    np.testing.assert_array_equal(decoded, pixels.transpose(2, 0, 1))


def test_shrinking_is_antialiased() -> None:
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 255  # stripes of one pixel, whose mean is 127.5
    decoded = decode_photo(encode(Image.fromarray(fine)), 8, "a")
    np.testing.assert_allclose(decoded[:, :, 1:-1], 127.5, atol=10)


def test_a_small_photo_is_enlarged() -> None:
    np.testing.assert_array_equal(decode_photo(encode(plain(RED, (3, 3))), 9, "a")[0], np.full((9, 9), 255))


def test_a_large_jpeg_is_decoded_at_the_smallest_scale_of_twice_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def record(photo: Image.Image, image_size: int) -> np.ndarray:
        sizes.append(photo.size)
        return np.zeros((3, image_size, image_size), np.uint8)

    monkeypatch.setattr(photos, "square_photo", record)
    for image_size in (28, 60, 300):  # twice of it fits 8, 4 and 0 times into 480; scales are 8, 4, 2 and 1
        decode_photo(encode(plain(RED, (640, 480)), "JPEG"), image_size, "a")
    assert sizes == [(80, 60), (160, 120), (640, 480)]


@pytest.mark.parametrize(
    ("photo", "colour"),
    [
        (plain((90,), mode="L"), (90, 90, 90)),
        (plain((90, 0), mode="LA"), (255, 255, 255)),
        (plain((0, 0, 0, 0), mode="RGBA"), (255, 255, 255)),
        (plain((255, 0, 0, 255), mode="RGBA"), RED),
        (plain((0, 0, 255, 51), mode="RGBA"), (204, 204, 255)),  # a fifth of blue, four fifths of white
        (stripes().crop((0, 0, 8, 8)).convert("P"), RED),
        (plain((1,), mode="1"), (255, 255, 255)),
        (plain((0,), mode="1"), (0, 0, 0)),
    ],
)
def test_grey_palettes_and_transparency_become_rgb_on_white(photo: Image.Image, colour: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(decode_photo(encode(photo), 2, "a")[:, 0, 0], colour)


def deep_png(values: list[int], transparent: bytes = b"", colours: int = 1) -> bytes:
    """Return a PNG file of one row with 16 bits for each number."""
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", len(values) // colours, 1, 16, 0 if colours == 1 else 2, 0, 0, 0))]
    chunks += [(b"tRNS", transparent)] if transparent else []
    chunks += [(b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def deep_tiff(row: bytes, order: str, photometric: int, bits: int = 16) -> bytes:
    """Return a TIFF file of one row of grey numbers of more than 8 bits."""
    width = 8 * len(row) // bits
    entries = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    entries.append((279, len(row)))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(row))
    body = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    return head + row + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


SHADES = [0, 1, 100, 254, 255]
DEEP = [257 * shade for shade in SHADES]


@pytest.mark.parametrize(
    "content",
    [
        deep_png(DEEP),
        deep_png([value for value in DEEP for _ in range(3)], colours=3),
        deep_tiff(struct.pack("<5H", *DEEP), "<", 1),
        deep_tiff(struct.pack(">5H", *DEEP), ">", 1),
        deep_tiff(struct.pack("<5H", *(65535 - value for value in DEEP)), "<", 0),  # 0 is white
        b"P5 5 1 65535\n" + struct.pack(">5H", *DEEP),
        b"P5 5 1 1020\n" + struct.pack(">5H", *(4 * shade for shade in SHADES)),
        b"P6 5 1 65535\n" + struct.pack(">15H", *(value for value in DEEP for _ in range(3))),
    ],
    ids=["png", "png-rgb", "tiff", "tiff-motorola", "tiff-negative", "pgm", "pgm-of-10-bits", "ppm"],
)
def test_16_bits_become_the_same_shades_of_8(content: bytes) -> None:
    np.testing.assert_array_equal(np.asarray(read_photo(content, "a"))[0], np.repeat([SHADES], 3, axis=0).T)


def test_12_bits_of_a_microscope_become_shades_of_8() -> None:
    row = int("".join(f"{value:012b}" for value in (0, 1606, 2055, 4095)), 2).to_bytes(6, "big")
    content = deep_tiff(row, "<", 1, bits=12)
    assert np.asarray(read_photo(content, "a"))[0, :, 0].tolist() == [0, 100, 128, 255]


def test_16_bits_are_rounded_to_the_nearest_shade() -> None:
    values = list(range(0, 65536, 7))
    found = np.asarray(read_photo(deep_png(values), "a"))[0, :, 0]
    np.testing.assert_array_equal(found, np.rint(np.array(values) / 257))


def test_the_transparent_shade_of_16_bits_shows_white_paper() -> None:
    np.testing.assert_array_equal(decode_photo(deep_png([5, 6] * 2, b"\0\5"), 1, "a")[:, 0, 0], [128] * 3)


def test_the_transparent_shade_of_16_bits_stays_transparent() -> None:
    found = np.asarray(read_photo(deep_png([5 * 257, 6 * 257, 5 * 257 + 1], b"\5\5"), "a"))
    assert found[0].tolist() == [[5, 5, 5, 0], [6, 6, 6, 255], [5, 5, 5, 255]]


def test_a_cmyk_jpeg_is_read() -> None:
    content = encode(plain((0, 255, 255, 0), mode="CMYK"), "JPEG", quality=100)
    np.testing.assert_allclose(decode_photo(content, 2, "a")[:, 0, 0], RED, atol=4)


def test_a_photo_taken_with_a_turned_camera_is_turned_upright() -> None:
    photo = plain(RED, (16, 16))
    photo.paste(BLUE, (0, 0, 16, 8))  # blue above; orientation 6 says: turn clockwise, so blue comes to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_photo(encode(photo, "JPEG", exif=exif), 16, "a")
    np.testing.assert_allclose(decoded[:, 8, 14], BLUE, atol=6)
    np.testing.assert_allclose(decoded[:, 8, 2], RED, atol=6)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"not a photo at all", r"another format, or a damaged header; it begins with b'not a photo '$"),
        (b"<!DOCTYPE html><html>", "it begins with b'<!DOCTYPE ht'$"),
        (b"", "an empty file$"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo, which cannot be read here; save it as JPEG"),
        (encode(plain(RED, (640, 640)), "JPEG")[:-80], "truncated"),
        (encode(plain(RED, (64, 64)), "TGA"), "another format"),
        (claimed_png(9_000), "9000 x 9000 pixels are more than 64000000"),
        (claimed_png(20_000), "decompression bomb"),
        (encode(plain((4,), mode="I"), "TIFF"), "mode 'I' has numbers without a defined range"),
        (encode(plain((4,), mode="F"), "TIFF"), "mode 'F' has numbers without a defined range"),
        (b"Pf 1 1 -1.0\n" + bytes(4), "mode 'F' has numbers without a defined range"),
    ],
)
def test_what_does_not_decode_is_refused_with_its_place(content: bytes, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint) as caught:
        decode_photo(content, 8, "'a.jpg' in b.zip")
    assert "'a.jpg' in b.zip" in str(caught.value)


def test_damage_anywhere_is_refused_or_decoded_but_never_crashes() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    refused = 0
    for file_format in PHOTO_FORMATS:
        content = encode(noise, file_format)
        for _ in range(50):
            damaged = bytearray(content)
            for place in rng.integers(0, min(len(damaged), 200), 3):
                damaged[place] = rng.integers(0, 256)
            try:
                assert decode_photo(bytes(damaged), 8, "a").shape == (3, 8, 8)
            except DatasetError:
                refused += 1
    assert refused > 50
