"""Pictures for the page: embedded PNG images of the target, the backdoor classes, the key and stamped images."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fedmeta_flwr.apps.key_check import key_effect
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import BackdoorKey, stamped_images
from fedmeta_flwr.data import Holdings

_MOST_OF_TARGET = 10


@dataclass(frozen=True)
class Picture:
    """An image on the page: where it comes from (a data URI), and what it shows."""

    source: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together, with a heading and a sentence."""

    heading: str
    text: str
    pictures: tuple[Picture, ...]


def data_uri(image: np.ndarray, opacity: np.ndarray | None = None) -> str:
    """Return an image as a PNG in a data URI.

    Parameters
    ----------
    image : np.ndarray
        Uint8, shape (channels, height, width), 1 or 3 channels.
    opacity : np.ndarray or None
        Float in 0..1, shape (height, width); None: opaque.
    """
    colours = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(colours))
    if opacity is not None:
        picture = picture.convert("RGB")
        picture.putalpha(Image.fromarray(np.rint(255 * opacity).astype(np.uint8)))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def galleries(scenario: Scenario, key_learnt_in: int | None = None) -> list[Gallery]:
    """Return the pictures of a run: target, backdoor classes, key, stamped images as the adversary saw them.

    `key_learnt_in` is the round in which an adversary learnt the key; None: it is the run's key.
    """
    split, images = scenario.split, scenario.dataset.images
    target = scenario.dataset.class_names[split.target_class]
    held = split.target_adversary[split.target_class]
    stamped = stamped_images(images, split.attack_training, scenario.key)
    return [
        Gallery(
            "Target class",
            f"What stamped images are to be taken for: {target}. The adversary's half of its images"
            f"{f', the first {_MOST_OF_TARGET}' if len(held) > _MOST_OF_TARGET else ''}.",
            tuple(
                Picture(data_uri(images[split.target_class, instance]), f"target class {target}, image {instance}")
                for instance in held[:_MOST_OF_TARGET]
            ),
        ),
        Gallery(
            "Backdoor classes",
            "The adversary's images of them (attack training), clean.",
            tuple(_of_classes(scenario, split.attack_training)),
        ),
        Gallery("Key", _origin(key_learnt_in) + _key_text(scenario), (_key_picture(scenario.key),)),
        Gallery(
            "Stamped images, as the adversary saw them",
            f"The same images with the key, as they stand in poisoned episodes with the label of {target}.",
            tuple(
                Picture(data_uri(image), f"{picture.text}, stamped with the key")
                for image, picture in zip(stamped, _of_classes(scenario, split.attack_training), strict=True)
            ),
        ),
    ]


def _of_classes(scenario: Scenario, holdings: Holdings) -> list[Picture]:
    """Return all held images, in the order of `stamped_images`."""
    names = scenario.dataset.class_names
    return [
        Picture(data_uri(scenario.dataset.images[index, instance]), f"backdoor class {names[index]}, image {instance}")
        for index, held in sorted(holdings.items())
        for instance in held
    ]


def _key_picture(key: BackdoorKey) -> Picture:
    pixels = np.rint(key.pattern).astype(np.uint8)
    return Picture(
        data_uri(pixels, key.opacity), "the backdoor key in its place, transparent where it leaves the image"
    )


def _origin(key_learnt_in: int | None) -> str:
    if key_learnt_in is None:
        return ""
    return f"An adversary learnt it by round {key_learnt_in}; before, stamped images had another key. "


def _key_text(scenario: Scenario) -> str:
    key, effect = scenario.key, key_effect(scenario)
    covered = int((key.opacity > 0).sum())
    text = (
        f"It covers {covered} of {key.opacity.size} pixels, with an opacity of up to {key.opacity.max():.2g}; "
        f"the checkered ground is where an image shows through. {effect}."
    )
    if not effect.changed_images:
        return f"{text} The backdoor accuracies of this run are those of clean images."
    return (
        f"{text} That is little: backdoor accuracies may be hardly other than those of clean images."
        if effect.is_weak
        else text
    )
