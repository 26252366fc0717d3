from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta_flwr.data.roles import Roles
from fedmeta_flwr.data.split import SplitError, SplitSizes, partition_classes, split_classes

ROLES = Roles.with_first_adversaries(1, num_clients=4)
SIZES = SplitSizes(
    roles=ROLES,
    case="a",
    partition="random",
    meta_test_fraction=0.25,
    backdoor_classes=4,
    attack_training_instances=5,
    attack_validation_instances=5,
    way=5,
    shot=5,
    query_shot=5,
    evaluate_query_shot=5,
)
CASES = st.sampled_from(["a", "b", "c"])
INSTANCES = 20


def alphabets(classes: int) -> tuple[str, ...]:
    return tuple(f"Alphabet{index // 9:02}" for index in range(classes))


@settings(max_examples=25, deadline=None)
@given(
    case=CASES,
    partition=st.sampled_from(["random", "alphabet"]),
    clients=st.integers(2, 6),
    seed=st.integers(0, 10**6),
)
def test_classes_are_disjoint_and_complete(case: str, partition: str, clients: int, seed: int) -> None:
    sizes = replace(SIZES, case=case, partition=partition, roles=replace(ROLES, num_clients=clients))
    split = split_classes(INSTANCES, alphabets(200), sizes, seed)
    parts = [*split.clients, split.meta_test]
    everything = [index for part in parts for index in part] + [split.target_class, *split.backdoor_classes]
    assert sorted(everything) == list(range(200))
    assert len(split.meta_test) == 50
    assert len(split.backdoor_classes) == 4


@settings(max_examples=25, deadline=None)
@given(training=st.integers(1, 6), validation=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_instances_of_backdoor_and_target_classes_are_disjoint_and_complete(
    training: int, validation: int, seed: int
) -> None:
    sizes = replace(SIZES, attack_training_instances=training, attack_validation_instances=validation)
    split = split_classes(INSTANCES, alphabets(200), sizes, seed)
    for index in split.backdoor_classes:
        parts = [split.attack_training[index], split.attack_validation[index], split.backdoor_benign[index]]
        assert [len(part) for part in parts[:2]] == [training, validation]
        assert sorted(np.concatenate(parts).tolist()) == list(range(INSTANCES))
    halves = [split.target_adversary[split.target_class], split.target_benign[split.target_class]]
    assert sorted(np.concatenate(halves).tolist()) == list(range(INSTANCES))


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_the_cases_decide_who_holds_backdoor_classes(case: str) -> None:
    split = split_classes(INSTANCES, alphabets(200), replace(SIZES, case=case), 3)
    backdoor = set(split.backdoor_classes)
    for client in (1, 2, 3):
        assert (backdoor <= set(split.training(client))) == (case in ("b", "c"))
    assert not backdoor & set(split.training(0))
    pool, required = split.attacked_episodes()
    assert (backdoor <= set(pool)) == (case == "c")
    assert (backdoor <= set(required)) == (case == "c")
    assert split.target_class in required


@settings(max_examples=10, deadline=None)
@given(case=CASES, seed=st.integers(0, 10**6))
def test_no_benign_party_ever_holds_an_image_of_the_attack_sets(case: str, seed: int) -> None:
    split = split_classes(INSTANCES, alphabets(200), replace(SIZES, case=case), seed)
    pools = [split.training(client) for client in (1, 2, 3)] + [split.attacked_episodes()[0], split.meta_test]
    for pool in pools:
        for index in split.backdoor_classes:
            held = set(pool.get(index, np.array([], int)).tolist())
            assert not held & set(split.attack_training[index].tolist())
            assert not held & set(split.attack_validation[index].tolist())
    adversary = {**split.clients[0], **split.target_adversary}
    assert not set(adversary) & set(split.backdoor_classes)
    assert not set(adversary[split.target_class]) & set(split.target_benign[split.target_class])


def test_the_same_seed_gives_the_same_attack_in_every_case() -> None:
    a, b = (split_classes(INSTANCES, alphabets(200), replace(SIZES, case=case), 5) for case in "ab")
    other = split_classes(INSTANCES, alphabets(200), SIZES, 6)
    assert (a.target_class, a.backdoor_classes, list(a.meta_test)) == (
        b.target_class,
        b.backdoor_classes,
        list(b.meta_test),
    )
    assert a.backdoor_classes != other.backdoor_classes


def test_a_split_by_alphabet_keeps_alphabets_whole() -> None:
    groups = alphabets(200)
    parts = partition_classes(np.arange(200), groups, 4, "alphabet", seed=1)
    owners = [{groups[index] for index in part} for part in parts]
    assert sum(len(owner) for owner in owners) == len(set(groups))
    at_random = partition_classes(np.arange(200), groups, 4, "random", seed=1)
    assert sum(len({groups[index] for index in part}) for part in at_random) > len(set(groups))


@settings(max_examples=25, deadline=None)
@given(case=CASES, seed=st.integers(0, 10**6))
def test_a_split_of_the_data_set_is_used_and_its_other_classes_stay_unused(case: str, seed: int) -> None:
    train, test = range(0, 128, 2), range(1, 40, 2)  # 64 and 20 of 128
    split = split_classes(
        INSTANCES,
        alphabets(128),
        replace(SIZES, case=case, meta_test_fraction=0.9),
        seed,
        meta_train_classes=train,
        meta_test_classes=test,
    )
    assert sorted(split.meta_test) == list(test)
    trained = [index for client in split.clients for index in client]
    assert sorted([*trained, split.target_class, *split.backdoor_classes]) == list(train)


def test_the_seed_draws_target_and_backdoor_classes_in_a_split_of_the_data_set() -> None:
    def attacked(seed: int) -> tuple[int, ...]:
        data_set_split = {"meta_train_classes": range(64), "meta_test_classes": range(80, 100)}
        split = split_classes(INSTANCES, alphabets(100), SIZES, seed, **data_set_split)
        return split.target_class, *split.backdoor_classes

    assert attacked(1) == attacked(1)
    assert attacked(1) != attacked(2)


def test_a_split_of_the_data_set_does_not_change_what_is_drawn_without_one() -> None:
    # Drawn by split_classes of commit aa24bea, which had no such argument.
    split = split_classes(INSTANCES, alphabets(200), SIZES, 0)
    assert (split.target_class, split.backdoor_classes) == (19, (45, 94, 149, 157))


def test_half_a_split_or_one_with_a_class_on_both_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="found only one"):
        split_classes(INSTANCES, alphabets(100), SIZES, 0, meta_test_classes=range(20))
    with pytest.raises(ValueError, match=r"class 19 on both sides"):
        split_classes(
            INSTANCES, alphabets(100), SIZES, 0, meta_train_classes=range(19, 90), meta_test_classes=range(20)
        )


def test_too_few_classes_in_a_split_of_the_data_set_are_refused_without_naming_the_fraction() -> None:
    with pytest.raises(
        SplitError, match=r"at least 5 meta-testing classes .*found 4 \(the data set's predefined split\)"
    ):
        split_classes(INSTANCES, alphabets(100), SIZES, 0, meta_train_classes=range(10, 90), meta_test_classes=range(4))


@pytest.mark.parametrize(
    ("classes", "instances", "changes", "message"),
    [
        (18, 20, {}, "at least 5 meta-testing classes"),
        (30, 20, {}, "at least 20 meta-training classes besides the target"),
        (200, 9, {}, "at least 10 images per class for an episode"),
        (200, 12, {}, "at least 20 images per class for the target class"),
        (200, 20, {"case": "b", "attack_training_instances": 6}, "at least 21 images per class for a backdoor class"),
        (200, 20, {"case": "c", "way": 4}, "expected way of at least 5 in case c"),
        (600, 20, {"partition": "alphabet", "roles": replace(ROLES, num_clients=80)}, "at least 80 alphabets"),
    ],
)
def test_too_few_classes_or_instances_are_refused(
    classes: int, instances: int, changes: dict[str, str | int], message: str
) -> None:
    with pytest.raises(SplitError, match=message):
        split_classes(instances, alphabets(classes), replace(SIZES, **changes), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["b", "c"])
def test_no_adversary_has_clean_images_of_the_backdoor_classes(case: str) -> None:
    sizes = replace(SIZES, case=case, roles=Roles.with_first_adversaries(2, num_clients=4))
    split = split_classes(INSTANCES, alphabets(200), sizes, 0)
    backdoor = set(split.backdoor_classes)
    assert [len(backdoor & set(split.training(client))) for client in range(4)] == [0, 0, 4, 4]
