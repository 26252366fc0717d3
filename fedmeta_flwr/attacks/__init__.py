"""Attacks: the backdoor key, poisoned episodes, and the update that an adversary uploads."""

from fedmeta_flwr.attacks.base import Attack, Federation, Knowledge, LayeredAttack, Turn, Upload
from fedmeta_flwr.attacks.layers import Boost, Chain, Layer, OuterStep

__all__ = [
    "Attack",
    "Boost",
    "Chain",
    "Federation",
    "Knowledge",
    "Layer",
    "LayeredAttack",
    "OuterStep",
    "Turn",
    "Upload",
]
