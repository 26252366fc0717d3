"""What all clients of a run share, built from its configuration: images, who holds which of them, and the key."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedmeta_flwr.attacks import BackdoorKey, build_key, poisoned_count
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import is_custom
from fedmeta_flwr.data import ClassSplit, ImageDataset, Roles, SplitError, SplitSizes, load_dataset, split_classes
from fedmeta_flwr.defenses import make_defense
from fedmeta_flwr.defenses.step_curves import curves_of


@dataclass(frozen=True)
class Scenario:
    """The images of a run, who holds which of them, and the key."""

    dataset: ImageDataset
    split: ClassSplit
    key: BackdoorKey
    _seen_by: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def roles(self) -> Roles:
        """Return who is an adversary."""
        return self.split.roles

    def images_of_adversary(self, partition_id: int) -> np.ndarray:
        """Return all images, with zeros in place of those that an adversary does not have.

        It has its classes, the adversaries' half of the target, and its attack images, without the key.

        Returns
        -------
        np.ndarray
            Uint8, the shape of the data set; made once for each adversary. Pages of zeros take no memory.
        """
        if partition_id not in self._seen_by:
            images = self.dataset.images
            seen = np.zeros(images.shape, images.dtype)
            split = self.split
            for holdings in (split.clients[partition_id], split.target_adversary, split.attack_images(partition_id)):
                for index, instances in holdings.items():
                    seen[index, instances] = images[index, instances]
            self._seen_by[partition_id] = seen
        return self._seen_by[partition_id]


def roles_of(config: RunConfig) -> Roles:
    """Return who is an adversary in a run."""
    return Roles.with_first_adversaries(
        config.num_adversaries,
        num_clients=config.num_clients,
        divides_attack_images=config.attack_images == "divided",
    )


def load_scenario(config: RunConfig) -> Scenario:
    """Load the images, split them, build the key, and check that episodes can be drawn and poisoned.

    Raises
    ------
    DatasetError, SplitError, BackdoorKeyError
        If one of these steps fails; no incomplete file remains.
    """
    _check_attack_set(config)
    dataset = load_dataset(
        config.dataset,
        config.dataset_options,
        data_dir=Path(config.data_dir) if config.data_dir else None,
        cache_dir=Path(config.cache_dir) if config.cache_dir else None,
        image_size=config.image_size,
        strokes_classes=config.strokes_classes,
        strokes_instances=config.strokes_drawers,
        strokes_seed=config.strokes_seed,
    )
    _, instances, channels, _, _ = dataset.images.shape
    split = split_classes(
        instances,
        dataset.groups,
        _split_sizes(config),
        config.seed,
        meta_train_classes=dataset.meta_train_classes,
        meta_test_classes=dataset.meta_test_classes,
    )
    _check_classes(config, split)
    key = build_key(
        config.backdoor_key,
        config.backdoor_key_options,
        channels=channels,
        image_size=config.image_size,
        size=config.key_size,
        position=config.key_position,
        intensity=config.key_intensity,
    )
    return Scenario(dataset, split, key)


def _split_sizes(config: RunConfig) -> SplitSizes:
    sizes = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(SplitSizes) if field.name != "roles"
    }
    return SplitSizes(roles=roles_of(config), **sizes)


def _check_attack_set(config: RunConfig) -> None:
    if config.attack_round == 0 or is_custom(config.poisoning):
        return
    poisoned_sets = (config.query_shot, *([config.shot] if config.poison_support_episodes else []))
    needed = sum(poisoned_count(images, config.poison_fraction) for images in poisoned_sets)
    held = config.backdoor_classes * config.attack_training_instances
    parts = config.num_adversaries if config.attack_images == "divided" else 1
    if held // parts < needed:
        divided = " / num-adversaries" * (parts > 1)
        raise SplitError(
            f"attack: expected at least {needed} attack training images (poison-fraction of query-shot, and of shot "
            f"where poison-support-episodes is above 0), "
            f"found {held // parts} (backdoor-classes * attack-training-instances{divided})"
        )


def _check_classes(config: RunConfig, split: ClassSplit) -> None:
    """Check that every client holds enough classes for the defense and for the step curves."""
    defense = make_defense(config.defense, config.defense_options)
    curves = [curves_of(defense)[name] for name in config.step_curves.split()]
    for partition_id in range(config.num_clients):
        held, is_adversary = len(split.training(partition_id)), split.roles.is_adversary(partition_id)
        for used in (defense, *([] if is_adversary else curves)):
            needed = used.classes_needed(matching_way=config.matching_way, is_adversary=is_adversary)
            if held >= needed:
                continue
            if needed == config.matching_way:
                raise SplitError(
                    f"matching-way: expected at most the number of classes of each client that matches, "
                    f"found {needed} and client {partition_id} with {held} classes"
                )
            raise SplitError(
                f"defense: expected clients with at least {needed} classes, found client {partition_id} with {held}"
            )
