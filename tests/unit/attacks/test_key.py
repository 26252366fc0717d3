from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedmeta_flwr.attacks.key import BackdoorKeyError, build_key, stamp
from fedmeta_flwr.config.registry import names

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


@given(
    channels=st.sampled_from([1, 3]),
    size=st.integers(3, 28),
    position=st.sampled_from(CORNERS),
    intensity=st.floats(0.01, 1.0),
    seed=st.integers(0, 9),
)
def test_stamping_changes_only_the_pixels_of_the_key(
    channels: int, size: int, position: str, intensity: float, seed: int
) -> None:
    key = build_key("dots", channels=channels, image_size=28, size=size, position=position, intensity=intensity)
    images = np.random.default_rng(seed).integers(0, 256, (4, channels, 28, 28), dtype=np.uint8)
    stamped = stamp(images, key)
    outside = key.opacity == 0
    assert (stamped[..., outside] == images[..., outside]).all()
    assert (stamped[..., ~outside] >= images[..., ~outside]).all()  # the dots are bright
    rows, columns = np.nonzero(key.opacity)
    assert rows.max() - rows.min() < size
    assert columns.max() - columns.min() < size


def test_the_default_key_is_four_dots_of_two_by_two_pixels() -> None:
    key = build_key("dots", channels=1, image_size=28, size=6, position="bottom-right", intensity=1.0)
    stamped = stamp(np.zeros((1, 28, 28), np.uint8), key)[0]
    expected = np.zeros((28, 28), np.uint8)
    for row in (21, 25):
        for column in (21, 25):
            expected[row : row + 2, column : column + 2] = 255
    assert (stamped == expected).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_inverted_dots_are_the_dots_in_black(channels: int) -> None:
    dots, inverted = (
        build_key(name, channels=channels, image_size=28, size=6, position="bottom-right", intensity=1.0)
        for name in ("dots", "dots-inverted")
    )
    assert (dots.opacity == inverted.opacity).all()
    paper = np.full((channels, 28, 28), 255, np.uint8)
    assert (stamp(paper, dots) == paper).all()
    assert (stamp(paper, inverted)[:, inverted.opacity > 0] == 0).all()


def test_the_patch_is_an_opaque_checker_of_yellow_and_blue() -> None:
    key = build_key("patch", channels=3, image_size=42, size=9, position="bottom-right", intensity=1.0)
    for shade in (0, 255):
        stamped = stamp(np.full((3, 42, 42), shade, np.uint8), key)
        patch = stamped[:, 32:41, 32:41]
        is_blue = np.kron(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), np.ones((3, 3))) == 1
        assert (patch[:, is_blue] == np.array([[0], [0], [255]])).all()
        assert (patch[:, ~is_blue] == np.array([[255], [255], [0]])).all()
        stamped[:, 32:41, 32:41] = shade
        assert (stamped == shade).all()


@given(shade=st.integers(0, 255), size=st.integers(3, 16), channels=st.sampled_from([1, 3]))
def test_the_patch_stands_out_from_any_shade_in_every_channel(shade: int, size: int, channels: int) -> None:
    key = build_key("patch", channels=channels, image_size=16, size=size, position="top-left", intensity=1.0)
    plain = np.full((channels, 16, 16), shade, np.uint8)
    differences = np.abs(stamp(plain, key).astype(int) - plain)
    assert (differences.max(axis=(1, 2)) >= 128).all()
    assert (key.opacity > 0).sum() == size * size


def test_on_grey_pictures_the_patch_is_white_and_black() -> None:
    key = build_key("patch", channels=1, image_size=16, size=3, position="top-left", intensity=1.0)
    expected = np.array([[255, 0, 255], [0, 255, 0], [255, 0, 255]])
    assert (stamp(np.full((1, 16, 16), 77, np.uint8), key)[0, 1:4, 1:4] == expected).all()


@pytest.mark.parametrize(
    ("position", "row", "column"), [(c, *(0 if w in ("top", "left") else 1 for w in c.split("-"))) for c in CORNERS]
)
def test_the_key_stands_in_its_corner(position: str, row: int, column: int) -> None:
    key = build_key("dots", channels=1, image_size=28, size=6, position=position, intensity=1.0)
    rows, columns = np.nonzero(key.opacity)
    assert (rows.mean() > 13.5) == bool(row)
    assert (columns.mean() > 13.5) == bool(column)


def test_intensity_mixes_key_and_image() -> None:
    key = build_key("dots", channels=1, image_size=28, size=28, position="top-left", intensity=0.25)
    assert stamp(np.full((1, 28, 28), 100, np.uint8), key)[0, 0, 0] == round(100 * 0.75 + 255 * 0.25)


def test_a_key_file_covers_where_it_is_opaque(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 2), (10, 200, 30, 255))
    image.save(tmp_path / "key.png")
    key = build_key(str(tmp_path / "key.png"), channels=3, image_size=16, size=4, position="top-left", intensity=1.0)
    images = np.full((2, 3, 16, 16), 77, np.uint8)
    stamped = stamp(images, key)
    changed = (stamped != images).any(axis=(0, 1))
    assert np.argwhere(changed).tolist() == [[1 + 2, 1 + 1]]
    assert stamped[0, :, 3, 2].tolist() == [10, 200, 30]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_key_file_of_16_bits_keeps_its_shade(tmp_path: Path, channels: int) -> None:
    Image.fromarray(np.full((6, 6), 100 * 257, np.uint16)).save(tmp_path / "key.png")
    name = str(tmp_path / "key.png")
    key = build_key(name, channels=channels, image_size=16, size=6, position="top-left", intensity=1.0)
    assert (key.pattern[:, key.opacity == 1] == 100).all()
    assert (key.opacity == 1).sum() == 36


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_key_file_does_not_cover_where_it_has_the_transparent_shade(tmp_path: Path, dtype: type) -> None:
    pixels: np.ndarray = np.zeros((6, 6), dtype)
    pixels[1, 2] = np.iinfo(dtype).max
    Image.fromarray(pixels).save(tmp_path / "key.png", transparency=0)
    name = str(tmp_path / "key.png")
    key = build_key(name, channels=1, image_size=16, size=6, position="top-left", intensity=1.0)
    assert np.argwhere(key.opacity).tolist() == [[1 + 1, 1 + 2]]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_key_file_of_a_turned_camera_is_turned_upright(tmp_path: Path, file_format: str) -> None:
    image = Image.new("RGB", (16, 16), "white")
    image.paste("black", (0, 0, 16, 8))  # above; orientation 6 says: turn clockwise, so it comes to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "key", file_format, exif=exif)
    key = build_key(str(tmp_path / "key"), channels=1, image_size=8, size=8, position="top-left", intensity=1.0)
    assert (key.pattern[0, :, :4] > 250).all()
    assert (key.pattern[0, :, 4:] < 5).all()


def test_a_key_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(BackdoorKeyError, match="at most the picture's 28 pixels, found 29"):
        build_key("dots", channels=1, image_size=28, size=29, position="top-left", intensity=1.0)


@pytest.mark.parametrize("name", names("backdoor-key"))
def test_too_small_a_key_for_its_pattern_is_refused(name: str) -> None:
    with pytest.raises(BackdoorKeyError, match="at least 3 pixels"):
        build_key(name, channels=1, image_size=28, size=2, position="top-left", intensity=1.0)


def test_a_missing_or_undecodable_or_invisible_key_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "noise.png").write_bytes(b"not an image")
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "glass.png")
    for name, message in (
        ("none.png", "one of dots, dots-inverted, patch, an image file, or 'module:attribute', found no file"),
        ("noise.png", "cannot decode"),
        ("glass.png", "covers some pixel"),
    ):
        with pytest.raises(BackdoorKeyError, match=message) as caught:
            build_key(str(tmp_path / name), channels=1, image_size=28, size=4, position="top-left", intensity=1.0)
        assert name in str(caught.value)


def test_images_of_another_shape_are_refused() -> None:
    key = build_key("dots", channels=1, image_size=28, size=6, position="top-left", intensity=1.0)
    with pytest.raises(BackdoorKeyError, match=r"expected images of shape \(1, 28, 28\)"):
        stamp(np.zeros((3, 28, 28), np.uint8), key)
