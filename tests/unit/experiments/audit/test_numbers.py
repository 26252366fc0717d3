import numpy as np
import pytest

from experiments.audit.measurements import area_under_curve, cosine, flat_difference, unchanged_share
from experiments.audit.round import mean_of
from strategies import ClientUpdate

SENT = {"w": np.array([[1.0, 2.0]], np.float32), "b": np.array([3.0, 4.0], np.float32)}


def update(w: list[float], b: list[float], weight: float = 1.0) -> ClientUpdate:
    arrays = {"w": np.array([w], np.float32), "b": np.array(b, np.float32)}
    return ClientUpdate(0, arrays, SENT, weight, {}, 1, False)


@pytest.mark.parametrize(
    ("adversarial", "benign", "area"),
    [([3.0], [1.0, 2.0], 1.0), ([0.0], [1.0, 2.0], 0.0), ([2.0], [1.0, 2.0, 3.0, 4.0], 0.375), ([1, 1], [1, 1], 0.5)],
)
def test_the_area_is_the_share_of_pairs_in_which_the_adversary_scores_higher(
    adversarial: list[float], benign: list[float], area: float
) -> None:
    assert area_under_curve(adversarial, benign) == area


def test_the_difference_of_an_update_is_one_vector_in_the_order_of_the_arrays() -> None:
    assert flat_difference(update([4, 2], [3, 8])).tolist() == [3, 0, 0, 4]


def test_the_cosine_is_exact_and_0_for_an_update_that_changes_nothing() -> None:
    assert cosine(np.array([3.0, 0, 0, 4.0]), np.array([4.0, 0, 0, 3.0])) == pytest.approx(24 / 25, abs=1e-15)
    assert cosine(np.zeros(2), np.ones(2)) == 0


def test_unchanged_coordinates_are_those_with_the_number_that_was_sent() -> None:
    assert unchanged_share(SENT, update([4, 2], [3, 8]).arrays) == 0.5


def test_the_mean_is_weighted_and_leaves_the_updates_as_they_are() -> None:
    first, second = update([1, 2], [3, 4], weight=3.0), update([5, 2], [3, 0])
    assert mean_of([first, second], SENT)["w"].tolist() == [[2, 2]]
    assert mean_of([first, second], SENT)["b"].tolist() == [3, 3]
    assert first.arrays["w"].tolist() == [[1, 2]]
