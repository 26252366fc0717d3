"""Which clients hold which classes and which instances of them.

Meta-testing classes are set aside first, the target and the backdoor classes are drawn from the others, and the
remaining classes are partitioned over the clients. The instances of the backdoor classes are split into attack training
(for the adversaries), attack validation (not used in training) and benign ones. The instances of the target class are
split into two halves, one for the adversaries and one for the benign clients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.data.roles import Holdings, Roles
from fedmeta_flwr.seeding import generator

__all__ = ["ClassSplit", "SplitError", "SplitSizes", "partition_classes", "split_classes"]


class SplitError(ValueError):
    """Too few classes or instances; says how many were expected, what for, and how many were found."""


@dataclass(frozen=True)
class SplitSizes:
    """What a split must provide: roles, and sizes with the names of the run configuration."""

    roles: Roles
    case: str
    partition: str
    meta_test_fraction: float
    backdoor_classes: int
    attack_training_instances: int
    attack_validation_instances: int
    way: int
    shot: int
    query_shot: int
    evaluate_query_shot: int


@dataclass(frozen=True)
class ClassSplit:
    """Classes and instances by role; every holding maps a class index to instance indices.

    Attributes
    ----------
    roles : Roles
        Which clients are adversaries.
    clients : tuple of Holdings
        Meta-training classes of each client, by partition id; disjoint, with all instances of each class.
    meta_test : Holdings
        Classes that nobody trains on.
    target_class : int
        The class index of the target.
    backdoor_classes : tuple of int
        The class indices of the backdoor classes.
    target_adversary, target_benign : Holdings
        The two halves of the target's instances.
    attack_training, attack_validation, backdoor_benign : Holdings
        The three parts of the backdoor classes' instances.
    case : str
        ``"a"``, ``"b"`` or ``"c"``; ``"bc"``: both of these, because their clients train alike.
    """

    roles: Roles
    clients: tuple[Holdings, ...]
    meta_test: Holdings
    target_class: int
    backdoor_classes: tuple[int, ...]
    target_adversary: Holdings
    target_benign: Holdings
    attack_training: Holdings
    attack_validation: Holdings
    backdoor_benign: Holdings
    case: str

    def training(self, partition_id: int) -> Holdings:
        """Return what a client meta-trains on when it trains benignly.

        In cases (b) and (c), benign clients also hold correctly labelled images of the backdoor classes. No client's
        benign training contains the target class.
        """
        held = self.clients[partition_id]
        return held if self.roles.is_adversary(partition_id) or self.case == "a" else {**held, **self.backdoor_benign}

    def attack_images(self, partition_id: int) -> Holdings:
        """Return the attack training images of an adversary."""
        return self.roles.attack_images(self.attack_training, partition_id)

    def attacked_episodes(self, case: str | None = None) -> tuple[Holdings, tuple[int, ...]]:
        """Return the holdings from which episodes with the target class are drawn, and the classes that each contains.

        The other classes are meta-testing classes. In case (c), every support set also contains the backdoor classes,
        correctly labelled. `case` is one of the run's cases; None: its first.
        """
        pool = {**self.meta_test, **self.target_benign}
        if (case or self.case[0]) != "c":
            return pool, (self.target_class,)
        return {**pool, **self.backdoor_benign}, (self.target_class, *self.backdoor_classes)


def split_classes(
    instances: int,
    groups: Sequence[str],
    sizes: SplitSizes,
    seed: int,
    *,
    meta_train_classes: Sequence[int] | None = None,
    meta_test_classes: Sequence[int] | None = None,
) -> ClassSplit:
    """Split a data set's classes and instances by role.

    Parameters
    ----------
    instances : int
        Images per class.
    groups : sequence of str
        Group (alphabet) of each class; its length is the number of classes.
    sizes : SplitSizes
        What the split must provide.
    seed : int
        The run's seed; the same seed gives the same target, backdoor and meta-testing classes in every case.
    meta_train_classes, meta_test_classes : sequence of int, optional
        The predefined split of the data set, if it has one. Classes in neither (validation) are not used, because
        published results are of networks that trained without them. None: drawn at random by `meta_test_fraction`.

    Returns
    -------
    ClassSplit

    Raises
    ------
    SplitError
        If there are too few classes or instances for the split or for the episodes drawn from it.
    ValueError
        If meta-training classes are given without meta-testing classes or vice versa, or a class is in both.
    """
    _check_instances(instances, sizes)
    rng = generator(seed, "class-split")
    if meta_train_classes is None and meta_test_classes is None:
        order = rng.permutation(len(groups))
        num_test = round(len(groups) * sizes.meta_test_fraction)
        meta_test, train = order[:num_test], order[num_test:]
        origin = f"meta-test-fraction = {sizes.meta_test_fraction}"
    else:
        meta_test, train = _predefined(meta_train_classes, meta_test_classes, rng)
        origin = "the data set's predefined split"
    target, backdoor = int(train[0]), tuple(int(index) for index in train[1 : 1 + sizes.backdoor_classes])
    benign_train = np.sort(train[1 + sizes.backdoor_classes :])
    _check_classes(len(meta_test), len(benign_train), sizes, origin)
    clients = partition_classes(benign_train, groups, sizes.roles.num_clients, sizes.partition, seed)
    _check_clients(clients, sizes.way)
    everything = np.arange(instances)
    return ClassSplit(
        roles=sizes.roles,
        clients=tuple({int(index): everything for index in part} for part in clients),
        meta_test={int(index): everything for index in np.sort(meta_test)},
        target_class=target,
        backdoor_classes=backdoor,
        case=sizes.case,
        **_split_target(target, instances, rng),
        **_split_backdoor(backdoor, instances, sizes, rng),
    )


def _predefined(
    meta_train: Sequence[int] | None, meta_test: Sequence[int] | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return meta-testing classes, and meta-training classes in random order."""
    if meta_train is None or meta_test is None:
        raise ValueError("class split: expected meta-training and meta-testing classes together, found only one")
    if shared := set(meta_train) & set(meta_test):
        raise ValueError(f"class split: expected disjoint classes, found class {min(shared)} on both sides")
    return np.array(meta_test, np.int64), rng.permutation(np.array(meta_train, np.int64))


def partition_classes(
    classes: np.ndarray, groups: Sequence[str], num_clients: int, partition: str, seed: int
) -> list[np.ndarray]:
    """Distribute all classes over clients at random and as evenly as possible, each class to one client.

    Parameters
    ----------
    classes : np.ndarray
        Class indices.
    groups : sequence of str
        Group of every class of the data set.
    num_clients : int
        Number of parts.
    partition : str
        ``"random"`` deals out single classes, ``"alphabet"`` whole groups (the natural non-IID split).
    seed : int
        The run's seed.

    Returns
    -------
    list of np.ndarray
        Sorted class indices of each client.
    """
    units = [[int(index)] for index in classes] if partition == "random" else _by_group(classes, groups)
    if len(units) < num_clients:
        raise SplitError(
            f"partition: expected at least {num_clients} {'classes' if partition == 'random' else 'alphabets'} "
            f"for num-clients = {num_clients}, found {len(units)}"
        )
    parts = np.array_split(generator(seed, "class-partition").permutation(len(units)), num_clients)
    return [np.sort(np.concatenate([np.array(units[i], np.int64) for i in part])) for part in parts]


def _by_group(classes: np.ndarray, groups: Sequence[str]) -> list[list[int]]:
    units: dict[str, list[int]] = {}
    for index in classes:
        units.setdefault(groups[int(index)], []).append(int(index))
    return [units[name] for name in sorted(units)]


def _split_target(target: int, instances: int, rng: np.random.Generator) -> Mapping[str, Holdings]:
    order = rng.permutation(instances)
    half = instances // 2
    return {
        "target_adversary": {target: np.sort(order[:half])},
        "target_benign": {target: np.sort(order[half:])},
    }


def _split_backdoor(
    backdoor: tuple[int, ...], instances: int, sizes: SplitSizes, rng: np.random.Generator
) -> Mapping[str, Holdings]:
    first = sizes.attack_training_instances
    second = first + sizes.attack_validation_instances
    orders = {index: rng.permutation(instances) for index in backdoor}
    return {
        "attack_training": {index: np.sort(order[:first]) for index, order in orders.items()},
        "attack_validation": {index: np.sort(order[first:second]) for index, order in orders.items()},
        "backdoor_benign": {index: np.sort(order[second:]) for index, order in orders.items()},
    }


def _check_instances(instances: int, sizes: SplitSizes) -> None:
    evaluated = sizes.shot + sizes.evaluate_query_shot
    trained = sizes.shot + sizes.query_shot
    attack = sizes.attack_training_instances + sizes.attack_validation_instances
    benign = max(trained, evaluated) if sizes.case != "a" else 0
    for what, needed in (
        ("an episode (shot + query-shot)", trained),
        ("an evaluation episode (shot + evaluate-query-shot)", evaluated),
        ("the target class (adversary's half: shot + query-shot)", 2 * trained),
        ("the target class (benign half: shot + evaluate-query-shot)", 2 * evaluated - 1),
        ("a backdoor class (attack training + attack validation + a benign episode)", attack + benign),
    ):
        if instances < needed:
            raise SplitError(f"class split: expected at least {needed} images per class for {what}, found {instances}")


def _check_classes(meta_test: int, benign_train: int, sizes: SplitSizes, origin: str) -> None:
    if "c" in sizes.case and sizes.way < 1 + sizes.backdoor_classes:
        raise SplitError(
            f"class split: expected way of at least {1 + sizes.backdoor_classes} in case c (the target and every "
            f"backdoor class are in each support set), found {sizes.way}"
        )
    if meta_test < sizes.way:
        raise SplitError(
            f"class split: expected at least {sizes.way} meta-testing classes for way = {sizes.way}, "
            f"found {meta_test} ({origin})"
        )
    if benign_train < (needed := sizes.roles.num_clients * sizes.way):
        raise SplitError(
            f"class split: expected at least {needed} meta-training classes besides the target "
            f"and {sizes.backdoor_classes} backdoor classes (num-clients * way), found {max(0, benign_train)}"
        )


def _check_clients(clients: list[np.ndarray], way: int) -> None:
    for partition_id, part in enumerate(clients):
        if len(part) < way:
            raise SplitError(
                f"class split: expected at least {way} classes for client {partition_id} (way = {way}), "
                f"found {len(part)}"
            )
