import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedmeta_flwr.datasets import DatasetError, photos
from fedmeta_flwr.datasets.photos import decode_photo, is_photo

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


@pytest.mark.parametrize("file_format", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_all_common_formats_give_red_green_and_blue_planes(file_format: str) -> None:
    content = encode(plain((255, 128, 0), (12, 12)), file_format, **({"quality": 100} if file_format == "WEBP" else {}))
    decoded = decode_photo(content, 4, "a")
    assert decoded.shape == (3, 4, 4)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded.mean(axis=(1, 2)), (255, 128, 0), atol=3)


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
    ],
)
def test_grey_palettes_and_transparency_become_rgb_on_white(photo: Image.Image, colour: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(decode_photo(encode(photo), 2, "a")[:, 0, 0], colour)


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
        (b"not a photo", "cannot identify"),
        (b"", "cannot identify"),
        (encode(plain(RED, (640, 640)), "JPEG")[:-80], "truncated"),
        (encode(plain(RED, (64, 64)), "PPM"), "cannot identify"),
        (claimed_png(9_000), "9000 x 9000 pixels are more than 64000000"),
        (claimed_png(20_000), "decompression bomb"),
        (encode(Image.fromarray(np.full((8, 8), 40_000, np.uint16))), "mode 'I;16' has more than 8 bits"),
    ],
)
def test_what_does_not_decode_is_refused_with_its_place(content: bytes, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint) as caught:
        decode_photo(content, 8, "'a.jpg' in b.zip")
    assert "'a.jpg' in b.zip" in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_damage_anywhere_is_refused_or_decoded_but_never_crashes() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    refused = 0
    for file_format in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"):
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", True), ("A.JPEG", True), ("b.png", True), ("._a.jpg", False), ("a.txt", False), ("jpg", False)],
)
def test_photos_are_told_by_their_suffix(name: str, expected: bool) -> None:
    assert is_photo(name) is expected
