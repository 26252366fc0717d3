"""Attacks: the backdoor key, poisoned episodes, and the update that an adversary uploads."""

from fedmeta_flwr.attacks.a_little_is_enough import paper_z
from fedmeta_flwr.attacks.base import Attack, LayeredAttack, Turn, Upload
from fedmeta_flwr.attacks.key import BackdoorKey, BackdoorKeyError, build_key, part_of_key, stamp
from fedmeta_flwr.attacks.key_effect import KeyEffect, effect_on
from fedmeta_flwr.attacks.knowledge import Aggregate, Knowledge, PublicKnowledge
from fedmeta_flwr.attacks.layers import Boost, Chain, Layer, OuterStep, boost
from fedmeta_flwr.attacks.poisoning import Poisoning, make_poison, poisoned_count
from fedmeta_flwr.attacks.stamping import pictures, stamped_images, stamped_sets
from fedmeta_flwr.attacks.untargeted import UntargetedAttack

__all__ = [
    "Aggregate",
    "Attack",
    "BackdoorKey",
    "BackdoorKeyError",
    "Boost",
    "Chain",
    "KeyEffect",
    "Knowledge",
    "Layer",
    "LayeredAttack",
    "OuterStep",
    "Poisoning",
    "PublicKnowledge",
    "Turn",
    "UntargetedAttack",
    "Upload",
    "boost",
    "build_key",
    "effect_on",
    "make_poison",
    "paper_z",
    "part_of_key",
    "pictures",
    "poisoned_count",
    "stamp",
    "stamped_images",
    "stamped_sets",
]
