"""The step curves of a model with a fully-connected head, whatever the defense of its run."""

from fedmeta_flwr.defenses.base import Defense
from fedmeta_flwr.defenses.matching.rescue import Rescue
from fedmeta_flwr.defenses.none import HeadSteps, Undefended


def of_a_head() -> dict[str, Defense]:
    """Return their names, as in the setting ``step-curves``, with the defense along whose steps each is measured."""
    return {along.curve.name: along for along in (Undefended(), Rescue(), HeadSteps()) if along.curve is not None}
