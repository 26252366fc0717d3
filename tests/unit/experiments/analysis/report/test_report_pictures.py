import base64
import io

import numpy as np
import pytest
from PIL import Image

from experiments.analysis.report.features import pca
from experiments.analysis.report.pictures import data_uri


def decoded(uri: str) -> "Image.Image":
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_keeps_every_pixel(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), dtype=np.uint8)
    found = np.asarray(decoded(data_uri(image)))
    assert np.array_equal(found if channels == 3 else found[..., None], image.transpose(1, 2, 0))


def test_a_key_is_transparent_where_it_leaves_the_image() -> None:
    opacity = np.zeros((4, 4), np.float32)
    opacity[1, 2] = 0.5
    found = np.asarray(decoded(data_uri(np.full((1, 4, 4), 255, np.uint8), opacity)))
    assert found.shape == (4, 4, 4)
    assert found[1, 2].tolist() == [255, 255, 255, 128]
    assert np.count_nonzero(found[..., 3]) == 1


def test_the_projection_of_flat_data_keeps_all_distances() -> None:
    rng = np.random.default_rng(1)
    flat = rng.normal(size=(12, 2)) @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T + 5.0
    points, shares = pca({"first": flat[:5], "second": flat[5:]})
    assert {name: rows.shape for name, rows in points.items()} == {"first": (5, 2), "second": (7, 2)}
    projected = np.concatenate(list(points.values()))
    distances = [np.linalg.norm(rows[:, None] - rows[None], axis=2) for rows in (flat, projected)]
    assert distances[1] == pytest.approx(distances[0])
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] >= shares[1]


def test_the_projection_does_not_depend_on_the_sign_that_a_library_happens_to_give() -> None:
    rows = np.random.default_rng(2).normal(size=(8, 5))
    first, second = pca({"all": rows})[0]["all"], pca({"all": rows[::-1].copy()})[0]["all"][::-1]
    assert first == pytest.approx(second)


def test_equal_features_are_projected_to_one_place() -> None:
    points, shares = pca({"all": np.ones((4, 3))})
    assert not points["all"].any()
    assert shares == (0.0, 0.0)
