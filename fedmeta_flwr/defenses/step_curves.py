"""Which step curves a run may measure."""

from collections.abc import Iterable

from fedmeta_flwr.defenses.base import Defense
from fedmeta_flwr.defenses.fresh_head import FreshHead
from fedmeta_flwr.defenses.matching.local_only import LocalOnly
from fedmeta_flwr.defenses.matching.rescue import Rescue
from fedmeta_flwr.defenses.matching.variants import rescue_curves
from fedmeta_flwr.defenses.none import HeadSteps, Undefended


def head_curves() -> dict[str, Defense]:
    """Return the curves of a model with its head: name, as in ``step-curves``, to the defense that is measured."""
    return _by_name((Undefended(), Rescue(), HeadSteps(), FreshHead(), LocalOnly(), *rescue_curves()))


def curves_of(defense: Defense) -> dict[str, Defense]:
    """Return the curves that a run may measure: those of the head, if the model has one, and that of its defense.

    The control without a global model is always one of them.
    """
    return (head_curves() if defense.has_head else {}) | _by_name((LocalOnly(), defense))


def _by_name(defenses: Iterable[Defense]) -> dict[str, Defense]:
    return {along.curve.name: along for along in defenses if along.curve is not None}
