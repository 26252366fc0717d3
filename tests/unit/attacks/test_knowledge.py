"""What an attacker is given holds nothing of what it must not know."""

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from unit.small_federation import SMALL, client_of, scenario_of, strokes_cache

from clients import Adversary
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks.key import stamp
from fedmeta_flwr.attacks.stamping import held_images
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.data import Holdings


def parts_of(thing: Any) -> Iterator[Any]:
    """Yield what can be reached from an object in one step: items, attributes, closures, bound objects."""
    if isinstance(thing, np.ndarray):
        if thing.base is not None:
            yield thing.base
        if thing.dtype == object:
            yield from thing.ravel()
    elif isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, functools.partial):
        yield from (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, types.MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or ())
        yield from (thing.__defaults__ or (), thing.__kwdefaults__ or {})
    if not isinstance(thing, types.ModuleType | type | types.FunctionType):
        yield from vars(thing).values() if hasattr(thing, "__dict__") else ()
        for kind in type(thing).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            yield from (
                getattr(thing, slot) for slot in ([slots] if isinstance(slots, str) else slots) if hasattr(thing, slot)
            )


def reachable_arrays(start: Any) -> list[np.ndarray]:
    """Return all arrays that can be reached from an object, each once."""
    seen: dict[int, Any] = {}
    waiting = [start]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, str | bytes | int | float | type(None)):
            continue
        seen[id(thing)] = thing
        waiting.extend(parts_of(thing))
    tensors = [
        thing.numpy() for thing in seen.values() if isinstance(thing, torch.Tensor) and thing.dtype == torch.uint8
    ]
    return [thing for thing in seen.values() if isinstance(thing, np.ndarray)] + tensors


def images_in(arrays: list[np.ndarray], shape: tuple[int, ...]) -> set[bytes]:
    """Return all images of a shape (channels, height, width) in uint8 arrays."""
    return {
        image.tobytes()
        for array in arrays
        if array.dtype == np.uint8 and array.shape[-3:] == shape
        for image in array.reshape(-1, *shape)
    }


def both(scenario: Scenario, holdings: Holdings) -> set[bytes]:
    """Return held images, as they are and stamped; blank ones are left out."""
    if not holdings:
        return set()
    images = held_images(scenario.dataset.images, holdings)
    images = images[images.any(axis=(1, 2, 3))]
    return {image.tobytes() for kind in (images, stamp(images, scenario.key)) for image in kind}


def forbidden(scenario: Scenario, partition_id: int) -> dict[str, Holdings]:
    split = scenario.split
    others = {f"client {client}": held for client, held in enumerate(split.clients) if client != partition_id}
    mine, parts = split.attack_images(partition_id), split.attack_training
    divided = {index: np.setdiff1d(held, mine.get(index, ())).astype(int) for index, held in parts.items()}
    return {
        "attack validation": split.attack_validation,
        "benign half of the target": split.target_benign,
        "benign images of backdoor classes": split.backdoor_benign,
        "meta-testing classes": split.meta_test,
        "parts of other adversaries": {index: held for index, held in divided.items() if len(held)},
        **others,
    }


@pytest.mark.parametrize("case", ["a", "bc"])
@pytest.mark.parametrize("attack_images", ["shared", "divided"])
@pytest.mark.parametrize("defense", ["none", "federation"])
def test_no_image_that_an_attacker_must_not_know_can_be_reached_from_what_it_is_given(
    run_config: Callable[..., RunConfig], tmp_path: Path, case: str, attack_images: str, defense: str
) -> None:
    changes = {"case": case, "attack_images": attack_images, "defense": defense, "num_adversaries": 2, "quorum": 2}
    config = run_config(**{**SMALL, "cache_dir": strokes_cache(tmp_path), **changes})
    scenario = scenario_of(config)
    for partition_id in (0, 1):
        client = client_of(config, tmp_path, partition_id)
        assert isinstance(client, Adversary)
        knowledge = client.attack.knowledge
        found = images_in(reachable_arrays(client.attack), scenario.dataset.images.shape[2:])
        known = set[bytes]()
        for own in (knowledge.holdings, knowledge.target, knowledge.backdoor):
            assert both(scenario, own) & found  # the search does find images
            known |= both(scenario, own)
        for what, holdings in forbidden(scenario, partition_id).items():
            assert not (both(scenario, holdings) - known) & found, what


def test_the_search_finds_an_image_behind_a_partial_a_method_a_closure_and_a_view() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)

    class Holder:
        def __init__(self, held: Any) -> None:
            self.held = held

        def method(self) -> None:
            """Is bound to the holder."""

    hidden = {"deep": [functools.partial(print, Holder(image).method)]}
    kept = np.stack([image, image])
    closed = lambda: kept  # noqa: E731
    view = np.stack([image * 0, image])[:1]
    for secret in (hidden, closed, Holder(Holder(image)), view):
        assert image.tobytes() in images_in(reachable_arrays(secret), (1, 4, 4))
