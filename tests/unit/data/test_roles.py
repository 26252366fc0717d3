import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmeta_flwr.data.roles import Roles


@st.composite
def any_roles(draw: st.DrawFn) -> Roles:
    clients = draw(st.integers(2, 12))
    adversaries = draw(st.sets(st.integers(0, clients - 1), min_size=1, max_size=clients - 1))
    return Roles(clients, frozenset(adversaries), divides_attack_images=True)


@given(any_roles())
def test_every_client_is_either_an_adversary_or_benign(roles: Roles) -> None:
    assert sorted([*roles.colluders, *roles.benign]) == list(range(roles.num_clients))
    assert [roles.is_adversary(client) for client in (*roles.colluders, *roles.benign)] == [True] * len(
        roles.adversaries
    ) + [False] * len(roles.benign)
    assert roles.first_benign == min(set(range(roles.num_clients)) - roles.adversaries)


def test_the_first_partitions_are_the_adversaries() -> None:
    assert Roles.with_first_adversaries(1, num_clients=4) == Roles(4, frozenset({0}))
    roles = Roles.with_first_adversaries(3, num_clients=7)
    assert (roles.colluders, roles.benign, roles.first_benign) == ((0, 1, 2), (3, 4, 5, 6), 3)


@pytest.mark.parametrize("adversaries", [set(), {0, 1, 2, 3}, {4}, {-1}])
def test_roles_without_an_adversary_or_a_benign_client_are_refused(adversaries: set[int]) -> None:
    with pytest.raises(
        ValueError, match="expected some adversaries among partitions 0 to 3, and at least one benign client"
    ):
        Roles(4, frozenset(adversaries))


HELD = {9: np.array([3, 5, 8]), 4: np.array([0, 7, 11, 12])}


def pairs(held: object) -> list[tuple[int, int]]:
    assert isinstance(held, dict)
    return [(index, int(instance)) for index, instances in sorted(held.items()) for instance in instances]


@given(any_roles())
def test_parts_of_the_attack_images_are_disjoint_complete_and_even(roles: Roles) -> None:
    parts = [pairs(roles.attack_images(HELD, client)) for client in roles.colluders]
    assert sorted(pair for part in parts for pair in part) == pairs(HELD)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_attack_images_are_shared_unless_they_are_divided() -> None:
    roles = Roles.with_first_adversaries(2, num_clients=4)
    assert [roles.attack_images(HELD, client) for client in (0, 1)] == [HELD, HELD]
