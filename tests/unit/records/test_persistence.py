"""What a persistence figure consists of."""

import pytest

from fedmeta_flwr.records.persistence import COLORS, LABELS, Persistence, persistence_of
from fedmeta_flwr.records.results import CURVES


def test_rounds_are_counted_from_the_attack_and_compared_with_the_last_before_it() -> None:
    shown = persistence_of([2, 4, 5, 6, 8], attack_round=5, attack_interval=0)
    assert shown == Persistence("rounds since the attack", {0: 5, 1: 6, 3: 8}, baseline=4, attacks=(0,))


@pytest.mark.parametrize(("interval", "attacks"), [(1, (0, 1, 2, 3)), (2, (0, 2)), (9, (0,))])
def test_every_attack_up_to_the_last_round_is_marked(interval: int, attacks: tuple[int, ...]) -> None:
    assert persistence_of([4, 5, 8], attack_round=5, attack_interval=interval).attacks == attacks


def test_every_round_of_attacks_in_turn_is_marked() -> None:
    shown = persistence_of([4, 5, 6, 9, 10], attack_round=5, attack_interval=4, attack_length=3)
    assert (shown.x_label, shown.attacks) == ("rounds since the first attack", (0, 1, 2, 4, 5))


@pytest.mark.parametrize(("evaluated", "attack_round"), [([2, 4], 0), ([2, 4], 5), ([6, 8], 5)])
def test_without_an_attack_or_rounds_on_both_sides_of_it_all_rounds_are_shown(
    evaluated: list[int], attack_round: int
) -> None:
    shown = persistence_of(evaluated, attack_round, attack_interval=0)
    assert shown == Persistence("round", dict(zip(evaluated, evaluated, strict=True)))


def test_every_curve_has_a_different_name_and_colour() -> None:
    for names in (LABELS, COLORS):
        assert (tuple(names), len(set(names.values()))) == (CURVES, len(CURVES))
