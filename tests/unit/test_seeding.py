import pytest

from fedmeta_flwr.seeding import generator


def test_the_same_address_gives_the_same_draws() -> None:
    assert generator(3, "episode", 1, 2).random(5).tolist() == generator(3, "episode", 1, 2).random(5).tolist()


@pytest.mark.parametrize(
    "other",
    [(4, "episode", 1, 2), (3, "split", 1, 2), (3, "episode", 2, 1), (3, "episode", 1), (3, "episode", 1, 2, 0)],
)
def test_another_address_gives_other_draws(other: tuple[int, str, int]) -> None:
    assert generator(*other).random() != generator(3, "episode", 1, 2).random()


def test_draws_are_the_same_on_every_machine() -> None:
    # made by: generator(0, "test").integers(1000, size=3); Philox and SeedSequence are specified bit by bit
    assert generator(0, "test").integers(1000, size=3).tolist() == [511, 726, 128]


@pytest.mark.parametrize("address", [(-1, "x"), (0, "x", -1)])
def test_a_negative_seed_or_key_is_refused(address: tuple[int, str]) -> None:
    with pytest.raises(ValueError, match="0 or above"):
        generator(*address)
