"""What a persistence figure consists of, whatever draws it: rounds, baseline, attacks, names and colours of curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LABELS = {
    "meta_testing": "meta-testing",
    "main_task": "main task",
    "attack_training": "backdoor, attack training",
    "attack_validation": "backdoor, attack validation",
}
"""What each curve of `results.CURVES` is called in tables, progress and figures."""

# Okabe and Ito 2008, "Color Universal Design": these four differ in lightness, too.
COLORS = {
    "meta_testing": "#0072B2",
    "main_task": "#009E73",
    "attack_training": "#D55E00",
    "attack_validation": "#CC79A7",
}
"""The colour of each curve in all figures."""


@dataclass(frozen=True)
class Persistence:
    """Which rounds a persistence figure shows, and where.

    Attributes
    ----------
    x_label : str
        What x is.
    rounds : mapping of int to int
        Place on the x axis to server round, ascending.
    baseline : int or None
        The server round that the curves are compared with, the last one evaluated before the attack; None where there
        is no attack, or nothing on one side of it: then all rounds are shown.
    attacks : tuple of int
        Places on the x axis.
    """

    x_label: str
    rounds: Mapping[int, int]
    baseline: int | None = None
    attacks: tuple[int, ...] = ()


def persistence_of(evaluated: Sequence[int], attack_round: int, attack_interval: int) -> Persistence:
    """Return what is shown of a run.

    Parameters
    ----------
    evaluated : sequence of int
        Its evaluated server rounds, ascending, at least one.
    attack_round, attack_interval : int
        As in its settings.
    """
    before = [number for number in evaluated if number < attack_round]
    after = [number for number in evaluated if number >= attack_round]
    if not (attack_round and before and after):
        return Persistence("round", {number: number for number in evaluated})
    attacks = range(attack_round, after[-1] + 1, attack_interval) if attack_interval else [attack_round]
    return Persistence(
        "rounds since the attack",
        {number - attack_round: number for number in after},
        before[-1],
        tuple(number - attack_round for number in attacks),
    )
