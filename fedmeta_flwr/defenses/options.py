"""Checks of a defense's options; the registry names the setting ``defense-options`` in front of the message."""

import math
from collections.abc import Collection
from typing import Any


def require_whole(name: str, value: Any, *, least: int) -> None:
    """Raise `ValueError` if an option is no whole number, or below `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number, {least} or above, found {value!r}")


def require_number(name: str, value: Any, *, is_zero_possible: bool) -> None:
    """Raise `ValueError` if an option is no finite number above 0, or from 0 if that is possible."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < 0 or (value == 0 and not is_zero_possible):
        raise ValueError(f"{name}: expected a number {'from 0 on' if is_zero_possible else 'above 0'}, found {value!r}")


def require_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise `ValueError` if an option is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, found {value!r}")
