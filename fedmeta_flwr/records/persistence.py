"""The content of a persistence figure, for any plotting code: rounds, baseline, attacks, labels and colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LABELS = {
    "meta_testing": "meta-testing",
    "main_task": "main task",
    "attack_training": "backdoor, attack training",
    "attack_validation": "backdoor, attack validation",
}
"""The label of each curve of `results.CURVES` in tables, progress and figures."""

# Okabe and Ito 2008, "Color Universal Design": these four also differ in lightness.
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
        Label of the x axis.
    rounds : mapping of int to int
        Position on the x axis to server round, ascending.
    baseline : int or None
        The server round with which the curves are compared: the last one evaluated before the attack. None if there is
        no attack, or no evaluated round before or after it; then all rounds are shown.
    attacks : tuple of int
        Positions of the attacks on the x axis.
    """

    x_label: str
    rounds: Mapping[int, int]
    baseline: int | None = None
    attacks: tuple[int, ...] = ()


def persistence_of(
    evaluated: Sequence[int], attack_round: int, attack_interval: int, attack_length: int = 1
) -> Persistence:
    """Return what the figure of a run shows.

    Parameters
    ----------
    evaluated : sequence of int
        The evaluated server rounds of the run, ascending, at least one.
    attack_round, attack_interval : int
        As in the settings of the run.
    attack_length : int
        Number of rounds of one attack; above 1 if adversaries attack in turn.
    """
    before = [number for number in evaluated if number < attack_round]
    after = [number for number in evaluated if number >= attack_round]
    if not (attack_round and before and after):
        return Persistence("round", {number: number for number in evaluated})
    begins = range(attack_round, after[-1] + 1, attack_interval) if attack_interval else [attack_round]
    attacks = [begin + number for begin in begins for number in range(attack_length) if begin + number <= after[-1]]
    return Persistence(
        "rounds since the attack" if attack_length == 1 else "rounds since the first attack",
        {number - attack_round: number for number in after},
        before[-1],
        tuple(number - attack_round for number in attacks),
    )
