"""Rescues with other options, as step curves of a run: where the backdoor goes, and where the federation stays."""

from __future__ import annotations

from typing import Any

from fedmeta_flwr.defenses.base import StepCurve
from fedmeta_flwr.defenses.matching.rescue import Rescue


def rescue_curve(name: str, label: str, **options: Any) -> Rescue:
    """Return a rescue with a step curve of another name; options and errors are those of `Rescue`."""

    class NamedRescue(Rescue):
        curve = StepCurve(name, label, "local steps of the matching network")

    return NamedRescue(**options)


def rescue_curves() -> tuple[Rescue, ...]:
    """Return the rescues that are compared with the published one, each with a curve."""
    return (
        rescue_curve("matching-attention", "matching, only the\nattention trained", trained="attention"),
        rescue_curve("matching-slow", "matching, embedding at\na tenth of the rate", embedding_lr_factor=0.1),
        rescue_curve("matching-slower", "matching, embedding at\na hundredth of the rate", embedding_lr_factor=0.01),
        rescue_curve("matching-anchored", "matching, embedding\nheld near the global one", anchor=0.1),
        rescue_curve("matching-perturbed", "matching, half of the\nembedding random", perturbation=0.5),
        rescue_curve("matching-noise", "matching, noise on\nthe attention", private_noise=0.5),
        rescue_curve("matching-ensemble", "matching, three\nattentions", attentions=3),
    )
