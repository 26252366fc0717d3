"""The attacks of the audit: each a name, settings, and what it must reach without a defense."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.catalog import AFTER_PRETRAINING
from experiments.settings import SettingsError

CLEAN = "clean"
"""Name of the measurements of the model before the attack."""

# With these the clean model, the benign clients and the evaluation are the same.
_ONLY_OF_THE_ATTACK = frozenset(
    {
        "attack",
        "attack-options",
        "attack-layers",
        "poisoning",
        "poisoning-options",
        "poison-fraction",
        "poison-support-episodes",
        "poison-outer-steps",
        "poison-outer-lr",
        "poison-outer-lr-schedule",
        "boost-factor",
    }
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An attack of the audit.

    Attributes
    ----------
    name : str
        Its name on the command line and in files.
    text : str
        What it does.
    settings : mapping
        Override those of the run ``attack-a`` of the catalog.
    floor : float or None
        In the quick audit on strokes, without a defense: the least excess of backdoor accuracy on the attack training
        images, in percentage points, poisoned minus clean; None: nothing is required.
    least_harm : float or None
        For an attack that plants no backdoor: the least loss of main-task accuracy there, in percentage points.
    """

    name: str
    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    floor: float | None = None
    least_harm: float | None = None

    @property
    def clean(self) -> str:
        """Name of the clean measurements that it is compared with; attacks share them if their settings permit it."""
        return CLEAN if _ONLY_OF_THE_ATTACK.issuperset(self.settings) else f"{CLEAN}-{self.name}"

    @property
    def has_federation(self) -> bool:
        """Whether it needs a pre-training of its own, such as with another number of clients."""
        return not frozenset(AFTER_PRETRAINING).issuperset(self.settings)


def attack(name: str, **options: Any) -> dict[str, str]:
    """Return the settings of an attack with options."""
    return {"attack": name, "attack-options": json.dumps(options) if options else ""}


def layers(**options: Mapping[str, Any]) -> dict[str, str]:
    """Return the setting that adds layers, given by their names with underscores and their options."""
    named = {name.replace("_", "-"): dict(one) for name, one in options.items()}
    return {"attack-layers": json.dumps(named)}


def _norm_bound(factor: int, floor: float | None) -> Variant:
    return Variant(
        name=f"norm-bound-{factor}",
        text=f"model replacement; its upload is as long as {factor} benign update{'s' * (factor > 1)} at most",
        settings=layers(norm_bound={"factor": float(factor)}),
        floor=floor,
    )


_ALL = (
    Variant(name="model-replacement", text="poisoned local training and a boosted update", floor=10.0),
    _norm_bound(1, None),
    _norm_bound(2, None),
    _norm_bound(5, None),
    Variant(
        name="neurotoxin",
        text="model replacement that keeps away from the weights that benign clients change most",
        settings=layers(neurotoxin={}),
        floor=5.0,
    ),
    Variant(
        name="constrain-and-scale",
        text="model replacement in the direction of benign updates",
        settings=attack("constrain-and-scale"),
    ),
    Variant(
        name="distributed-key",
        text="two of seven clients, each of which stamps half of the key",
        settings={
            **attack("distributed-key"),
            "num-clients": 7,
            "num-adversaries": 2,
            "quorum": 5,
            "boost-factor": 5.0,
        },
        floor=6.0,
    ),
    Variant(
        name="learned-key",
        text="model replacement with a key that the attacker learns at the global model",
        settings=attack("learned-key"),
        floor=7.0,
    ),
    Variant(
        name="private-part-noise",
        text="a backdoor for many private parts of a client that matches",
        settings=attack("private-part-noise"),
        floor=6.0,
    ),
    Variant(
        name="alignment",
        text="stamped images get the features of the target",
        settings=attack("alignment"),
        floor=5.0,
    ),
    Variant(
        name="alignment-norm-bound-2",
        text="alignment; its upload is as long as 2 benign updates at most",
        settings=attack("alignment") | layers(norm_bound={"factor": 2.0}),
    ),
    Variant(
        name="defense-in-the-loop",
        text="looks ahead through the local steps of the rescue",
        settings=attack("defense-in-the-loop"),
        floor=3.0,
    ),
    Variant(
        name="perturbation-in-the-loop",
        text="looks ahead through the local steps of a rescue with a perturbation, each time another one",
        settings=attack("defense-in-the-loop", against="rescue", against_options=json.dumps({"perturbation": 0.5})),
    ),
    Variant(
        name="second-order-loop",
        text="looks ahead through up to 3 local steps of the rescue, with the gradient through them",
        settings=attack("defense-in-the-loop", steps=[0, 1, 3], second_order=True),
    ),
    Variant(
        name="fine-tuning-in-the-loop",
        text="looks ahead through fine-tuning on the support set",
        settings=attack("defense-in-the-loop", steps=[3, 10, 30], against="none", matching=0.0),
        floor=5.0,
    ),
    Variant(
        name="fresh-head-in-the-loop",
        text="looks ahead through a fresh head",
        settings=attack("defense-in-the-loop", steps=[10, 50], against="fresh-head", matching=0.0),
        floor=5.0,
    ),
    Variant(
        name="inner-product-manipulation",
        text="untargeted: uploads the opposite of a benign update",
        settings=attack("inner-product-manipulation"),
    ),
    Variant(
        name="min-max",
        text="untargeted: as far from the mean as benign updates are from each other",
        settings=attack("min-max"),
    ),
    Variant(
        name="a-little-is-enough",
        text="untargeted: the mean minus a multiple of the standard deviation",
        settings=attack("a-little-is-enough"),
    ),
)
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _ALL}
"""All attacks by name, in the order of display."""


def variants_of(names: tuple[str, ...]) -> list[Variant]:
    """Return attacks by their names, in the order of display; none: all of them.

    Raises
    ------
    SettingsError
        If there is no such attack.
    """
    if unknown := sorted(set(names) - set(VARIANTS)):
        found = ", ".join(map(repr, unknown))
        raise SettingsError(f"attacks: expected any of {', '.join(VARIANTS)}, found {found}")
    return [variant for name, variant in VARIANTS.items() if not names or name in names]
