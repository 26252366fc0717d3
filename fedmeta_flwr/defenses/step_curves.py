"""Which step curves a run may measure."""

from fedmeta_flwr.defenses.base import Defense
from fedmeta_flwr.defenses.matching.rescue import Rescue
from fedmeta_flwr.defenses.none import HeadSteps, Undefended


def head_curves() -> dict[str, Defense]:
    """Return the curves of a model with its head: name, as in ``step-curves``, to the defense that is measured."""
    return {along.curve.name: along for along in (Undefended(), Rescue(), HeadSteps()) if along.curve is not None}


def curves_of(defense: Defense) -> dict[str, Defense]:
    """Return the curves that a run may measure: those of the head, if the model has one, and that of its defense."""
    known = head_curves() if defense.has_head else {}
    return known if defense.curve is None else known | {defense.curve.name: defense}
