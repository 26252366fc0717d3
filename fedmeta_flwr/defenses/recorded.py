"""A custom defense in a result file: what analysis needs to know of it, so that results are read without its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NoReturn

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.defenses.base import Defense, StepCurve

_TYPES = {"label": str, "has_head": bool, "remark": str, "private": str}
_CURVE_TYPES = {"name": str, "label": str, "steps": str, "is_of_episode": bool}


class RecordedDefense(Defense):
    """A defense without its code; only what a run recorded of it is known.

    Parameters
    ----------
    label, has_head, private, curve
        As in `Defense`.
    remark : str or None
        As in `Defense`; None: the default remark.
    remedy_curve : StepCurve or None
        The curve of its remedy; None if the remedy has no steps.
    """

    def __init__(
        self,
        label: str,
        *,
        has_head: bool = True,
        remark: str | None = None,
        private: str = "",
        curve: StepCurve | None = None,
        remedy_curve: StepCurve | None = None,
    ) -> None:
        self.label, self.has_head, self.private, self.curve = label, has_head, private, curve
        self._remark, self._remedy_curve = remark, remedy_curve

    @property
    def remark(self) -> str:
        """The recorded remark."""
        return super().remark if self._remark is None else self._remark

    def remedy(self) -> Defense:
        """Return this defense, or one of which only the curve is known if the remedy is another."""
        return self if self._remedy_curve == self.curve else RecordedDefense(self.label, curve=self._remedy_curve)

    def adapt(self, network: Any, context: Any) -> NoReturn:
        """Raise `RegistryError`."""
        raise RegistryError(f"defense: expected the code of {self.label!r}, found none")

    @classmethod
    def from_json(cls, entry: Any) -> RecordedDefense:
        """Undo `description`; raises `ValueError` for anything else."""
        curve, remedy_curve = (_curve(_field(entry, key)) for key in ("curve", "remedy_curve"))
        return cls(**_typed(entry, _TYPES), curve=curve, remedy_curve=remedy_curve)


def description(defense: Defense) -> dict[str, Any]:
    """Return what a result file records of a custom defense."""
    return {
        **{key: getattr(defense, key) for key in _TYPES},
        "curve": defense.curve and asdict(defense.curve),
        "remedy_curve": (curve := defense.remedy().curve) and asdict(curve),
    }


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, Mapping) else None


def _curve(entry: Any) -> StepCurve | None:
    return None if entry is None else StepCurve(**_typed(entry, _CURVE_TYPES))


def _typed(entry: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """Return the values under the keys of `types`; raises `ValueError` if one is missing or of another type."""
    for key, expected in types.items():
        if not isinstance(found := _field(entry, key), expected):
            raise ValueError(f"defense: expected {key} of type {expected.__name__}, found {found!r}")
    return {key: entry[key] for key in types}
