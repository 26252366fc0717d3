"""The distributed key: parts of the key, and what each colluder trains on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from unit.small_federation import bits

from fedmeta_flwr.attacks.base import LayeredAttack, Turn
from fedmeta_flwr.attacks.distributed_key import DistributedKey
from fedmeta_flwr.attacks.key import BackdoorKey, BackdoorKeyError, part_of_key
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.attacks.model_replacement import ModelReplacement
from fedmeta_flwr.attacks.stamping import stamped_images
from fedmeta_flwr.learning import get_arrays

Knows = Callable[..., Knowledge]


def turn_of(knowledge: Knowledge) -> Turn:
    return Turn(3, get_arrays(knowledge.shared), np.random.default_rng(0))


def key_of(covered: list[int]) -> BackdoorKey:
    opacity = np.zeros(25, np.float32)
    opacity[covered] = 0.5
    return BackdoorKey(np.full((1, 5, 5), 255, np.float32), opacity.reshape(5, 5))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_parts_cover_the_key_do_not_overlap_and_are_of_nearly_equal_size(count: int) -> None:
    key = key_of([0, 3, 4, 8, 13, 17, 24])
    parts = [part_of_key(key, index, count) for index in range(count)]
    np.testing.assert_array_equal(np.sum([part.opacity for part in parts], axis=0), key.opacity)
    sizes = [int((part.opacity > 0).sum()) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    places = [place for part in parts for place in np.flatnonzero(part.opacity).tolist()]
    assert places == sorted(places)  # contiguous in raster order


def test_a_key_with_fewer_pixels_than_colluders_is_refused() -> None:
    with pytest.raises(BackdoorKeyError, match="expected a key of at least 3 pixels for 3 parts, found 2"):
        part_of_key(key_of([1, 2]), 0, 3)


def test_with_one_adversary_it_is_model_replacement_to_the_bit(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    uploads = [kind(knowledge).local_update(turn_of(knowledge)) for kind in (ModelReplacement, DistributedKey)]
    assert bits(dict(uploads[0].arrays)) == bits(dict(uploads[1].arrays))
    assert uploads[0].metrics == uploads[1].metrics


def test_each_of_two_colluders_poisons_with_its_part_and_has_its_share_of_the_boost(knowledge_of: Knows) -> None:
    for index in (0, 1):
        knowledge = knowledge_of(index, num_adversaries=2, quorum=2, boost_factor=6.0)
        attack = DistributedKey(knowledge)
        part = part_of_key(knowledge.key, index, 2)
        stamped = stamped_images(knowledge.training.images, knowledge.backdoor, part)
        assert (attack.knowledge.poisoning.stamped == stamped).all()
        assert (stamped != knowledge.poisoning.stamped).any()
        turn = turn_of(knowledge)
        by_hand = replace(knowledge, poisoning=replace(knowledge.poisoning, stamped=stamped))
        local = LayeredAttack(replace(by_hand, boost_factor=2.0)).local_update(turn)  # uploads the local model
        upload = attack.local_update(turn)
        for name, old in turn.global_arrays.items():
            np.testing.assert_allclose(upload.arrays[name] - old, 3 * (local.arrays[name] - old), rtol=1e-4, atol=1e-5)
