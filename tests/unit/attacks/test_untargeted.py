"""Untargeted attacks: their formulas, compared with byzfl, and the line search against a rule."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from unit.small_federation import bits

from fedmeta_flwr.apps.attacker import make_attack
from fedmeta_flwr.attacks.a_little_is_enough import ALittleIsEnough, paper_z
from fedmeta_flwr.attacks.base import Turn
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.simulation import benign_updates, mean, norm
from fedmeta_flwr.attacks.untargeted import (
    InnerProductManipulation,
    MinMax,
    UntargetedAttack,
    deviation,
    largest_factor,
    minus,
    moved,
)
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning import get_arrays

Knows = Callable[..., Knowledge]
Updates = list[dict[str, np.ndarray]]


def turn_of(knowledge: Knowledge) -> Turn:
    return Turn(3, get_arrays(knowledge.shared), np.random.default_rng(0))


def random_updates(count: int = 5, seed: int = 0) -> Updates:
    rng = np.random.default_rng(seed)
    shapes = {"w": (3, 4), "b": (2,)}
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(count)
    ]


def flat(update: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in update.values()]).astype(np.float64)


def test_inner_product_manipulation_and_a_little_is_enough_agree_with_byzfl(knowledge_of: Knows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        byzfl = pytest.importorskip("byzfl")
    knowledge, updates = knowledge_of(), random_updates()
    turn, stacked = turn_of(knowledge), np.stack([flat(update) for update in updates])
    ours = InnerProductManipulation(knowledge, tau=1.5).combine(updates, turn)
    np.testing.assert_allclose(flat(ours), byzfl.InnerProductManipulation(tau=1.5)(stacked), rtol=1e-5, atol=1e-6)
    ours = ALittleIsEnough(knowledge, z=0.7).combine(updates, turn)
    np.testing.assert_allclose(flat(ours), byzfl.ALittleIsEnough(tau=-0.7)(stacked), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_min_max_reaches_the_benign_diameter_and_does_not_exceed_it(
    knowledge_of: Knows, direction: str, seed: int
) -> None:
    knowledge, updates = knowledge_of(), random_updates(seed=seed)
    attack = MinMax(knowledge, direction=direction)
    rows = [flat(update) for update in updates]
    diameter = max(np.linalg.norm(one - other) for one in rows for other in rows)
    uploaded = flat(attack.combine(updates, turn_of(knowledge)))
    assert max(np.linalg.norm(uploaded - row) for row in rows) == pytest.approx(diameter, rel=1e-5)
    middle, against = flat(mean(updates)), flat(mean(updates)) - uploaded
    along = {"std": flat(deviation(updates)), "unit": middle, "sign": np.sign(middle)}[direction]
    assert against @ along == pytest.approx(np.linalg.norm(against) * np.linalg.norm(along), rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_largest_factor_is_that_of_the_papers_bisection(seed: int) -> None:
    updates = random_updates(4, seed)
    rows, dev = [flat(update) for update in updates], deviation(updates)
    diameter = max(np.linalg.norm(one - other) for one in rows for other in rows)
    low, high = 0.0, 100.0
    for _ in range(60):
        factor = (low + high) / 2
        tried = np.mean(rows, axis=0) - factor * flat(dev)
        low, high = (factor, high) if max(np.linalg.norm(tried - row) for row in rows) <= diameter else (low, factor)
    assert largest_factor(updates, dev) == pytest.approx(low, rel=1e-6)


def test_equal_updates_leave_min_max_no_room() -> None:
    update = random_updates(1)[0]
    assert largest_factor([update, update], deviation([update, update])) == 0


@pytest.mark.parametrize(
    ("updates", "adversaries", "z"),
    [(50, 24, 1.4261), (10, 2, 0.0), (4, 1, -0.4307), (3, 1, 0.0), (2, 1, -np.inf), (3, 2, np.inf), (3, 3, np.inf)],
)
def test_z_is_the_quantile_of_the_paper_and_not_positive_where_there_are_few_clients(
    updates: int, adversaries: int, z: float
) -> None:
    assert paper_z(updates, adversaries) == pytest.approx(z, abs=1e-4)


def test_where_there_is_no_attack_at_this_size_it_says_so_and_goes_on(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()  # 1 adversary in a quorum of 3
    attack = ALittleIsEnough(knowledge)
    assert "no attack at this size: z is 0.00 for 1 adversaries in a quorum of 3" in attack.remark
    turn = turn_of(knowledge)
    expected = moved(turn.global_arrays, mean(benign_updates(knowledge, turn_of(knowledge), 3)))
    assert bits(dict(attack.local_update(turn).arrays)) == bits(expected)
    assert not ALittleIsEnough(knowledge, z=1.5).remark
    assert not InnerProductManipulation(knowledge).remark


def test_a_majority_of_adversaries_has_no_z_of_the_paper(knowledge_of: Knows) -> None:
    knowledge = knowledge_of(num_adversaries=2, quorum=2)
    with pytest.raises(ValueError, match="expected fewer adversaries, or an option z or search, where 2 of 2 updates"):
        ALittleIsEnough(knowledge)
    assert ALittleIsEnough(knowledge, z=1.0).z == 1


@pytest.mark.parametrize(
    "made",
    [
        lambda knowledge: InnerProductManipulation(knowledge, tau=0),
        lambda knowledge: MinMax(knowledge, direction="up"),
        lambda knowledge: MinMax(knowledge, simulated_clients=1),
        lambda knowledge: ALittleIsEnough(knowledge, z=1.0, search=True),
        lambda knowledge: ALittleIsEnough(knowledge, search=True, largest_z=0),
        lambda knowledge: ALittleIsEnough(
            replace(knowledge, public=replace(knowledge.public, aggregate=None)), search=True
        ),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    knowledge_of: Knows, made: Callable[[Knowledge], UntargetedAttack]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        made(knowledge_of())


def searched(knowledge: Knowledge, updates: Sequence[Mapping[str, np.ndarray]], turn: Turn) -> float:
    """Return the z that the line search has chosen."""
    found = ALittleIsEnough(knowledge, search=True).combine(updates, turn)
    dev, against = flat(deviation(updates)), flat(mean(updates)) - flat(found)
    return float(against @ dev / (dev @ dev))


@pytest.mark.parametrize("strategy", ["fedavg", "fedmedian", "krum"])
def test_the_search_takes_the_z_that_displaces_the_aggregate_of_the_rule_most(
    knowledge_of: Knows, strategy: str
) -> None:
    knowledge = knowledge_of(strategy=strategy, num_clients=6, quorum=5)
    updates, turn = random_updates(5), Turn(3, random_updates(1, seed=9)[0], np.random.default_rng(0))
    aggregate, start = knowledge.public.aggregate, turn.global_arrays
    assert aggregate is not None
    benign = updates[:4]
    clean = flat(moved(start, mean(benign)))

    def displacement(z: float) -> float:
        malicious = moved(start, minus(mean(updates), deviation(updates), z))
        found = aggregate([*[moved(start, one) for one in benign], malicious], start)
        return float(np.linalg.norm(flat(found) - clean))

    best = searched(knowledge, updates, turn)
    assert displacement(best) >= max(map(displacement, (0.0, 0.5, 1.0, 2.5, 10.0))) - 1e-5
    if strategy == "fedavg":
        assert best == pytest.approx(10, rel=1e-4)  # the mean has no protection: as far as the grid reaches


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedtrimmedavg", "dp-server-fixed-clipping", "qfedavg"])
def test_an_attacker_can_try_the_rule_of_the_run(knowledge_of: Knows, strategy: str) -> None:
    knowledge = knowledge_of(strategy=strategy)
    start, updates = random_updates(1, seed=9)[0], random_updates(3)
    aggregate = knowledge.public.aggregate
    assert aggregate is not None
    models = [moved(start, update) for update in updates]
    before = repr(np.random.get_state())
    found, again = aggregate(models, start), aggregate(models, start)
    assert bits(dict(found)) == bits(dict(again))
    assert repr(np.random.get_state()) == before
    assert norm({name: found[name] - array for name, array in start.items()}) > 0
    if strategy == "fedavg":
        np.testing.assert_allclose(flat(found), flat(moved(start, mean(updates))), rtol=1e-5, atol=1e-6)


def test_a_norm_bound_on_an_attack_without_a_boost_is_on_its_upload(
    knowledge_of: Knows, run_config: Callable[..., RunConfig]
) -> None:
    knowledge = knowledge_of(boost_factor=3.0)
    config = run_config(attack="inner-product-manipulation", attack_options='{"tau": 9.0}')
    bounded = replace(config, attack_layers='{"norm-bound": {"factor": 1.5}}')
    turn, unbounded = turn_of(knowledge), replace(config, attack_layers='{"norm-bound": {"factor": Infinity}}')
    attack = make_attack(bounded, knowledge)
    upload = attack.local_update(turn)
    lengths = [norm(update) for update in benign_updates(attack.knowledge, turn_of(knowledge), 5)]
    update = {name: upload.arrays[name] - old for name, old in turn.global_arrays.items()}
    assert norm(update) == pytest.approx(1.5 * float(np.median(lengths)), rel=1e-5)

    free = make_attack(unbounded, knowledge).local_update(turn_of(knowledge)).arrays
    fresh = turn_of(knowledge)
    benign_updates(knowledge, fresh, 5)  # the layer's draws come first
    plain = make_attack(config, knowledge).local_update(fresh).arrays
    assert bits(dict(free)) == bits(dict(plain))
