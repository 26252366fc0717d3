"""Which step curves a run may measure."""

from fedmeta_flwr.defenses.base import Defense
from fedmeta_flwr.defenses.matching.rescue import Rescue
from fedmeta_flwr.defenses.none import HeadSteps, Undefended


def of_a_head() -> dict[str, Defense]:
    """Return the curves of a model with its head: name, as in ``step-curves``, to the defense that is measured."""
    return {along.curve.name: along for along in (Undefended(), Rescue(), HeadSteps()) if along.curve is not None}


def curves_of(defense: Defense) -> dict[str, Defense]:
    """Return the curves that a run with a defense may measure: those of a head, if it has one, and its own."""
    known = of_a_head() if defense.has_head else {}
    return known if defense.curve is None else known | {defense.curve.name: defense}
