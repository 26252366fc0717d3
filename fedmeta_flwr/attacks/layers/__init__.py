"""Layers of an attack, which can be added to any attack that trains locally. `base` explains how to write one."""

from fedmeta_flwr.attacks.layers.base import Chain, Layer, OuterStep, around_steps
from fedmeta_flwr.attacks.layers.boost import Boost, boost
from fedmeta_flwr.attacks.layers.neurotoxin import Neurotoxin
from fedmeta_flwr.attacks.layers.norm_bound import NormBound

__all__ = ["Boost", "Chain", "Layer", "Neurotoxin", "NormBound", "OuterStep", "around_steps", "boost"]
