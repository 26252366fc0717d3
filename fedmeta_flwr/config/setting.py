"""A single setting: what it means, which values it admits, and how a value is checked."""

import dataclasses
import math
from itertools import pairwise
from typing import Any

from fedmeta_flwr.config.registry import is_own
from fedmeta_flwr.plain_text import is_plain


def setting(
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    items: tuple[str, ...] = (),
    whole_numbers: bool = False,
    is_free: bool = False,
    is_path: bool = False,
    admits_own: bool = False,
    absent: bool | str | None = None,
) -> Any:
    """Declare a field of `RunConfig`: what it means, the values that it admits, and whether it changes no result.

    `is_path`: it names a file or a folder. `admits_own` lets a value name a custom object, see
    `fedmeta_flwr.config.registry`. `absent` is for a setting that published result files lack: the value that says what
    their runs did.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "choices": choices}
    lists = {"items": items, "whole_numbers": whole_numbers}
    others = {"is_free": is_free, "is_path": is_path, "admits_own": admits_own, "absent": absent}
    return dataclasses.field(metadata={"description": description, **limits, **lists, **others})


def key_of(field: "dataclasses.Field[Any]") -> str:
    """Return the run-config key of a field."""
    return field.name.replace("_", "-")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return the ascending whole numbers, from 0, that a setting lists; raises `ValueError` for anything else."""
    words = text.split()
    numbers = tuple(int(word) for word in words if word.isdecimal())
    if not numbers or len(numbers) < len(words) or any(b <= a for a, b in pairwise(numbers)):
        raise ValueError(f"expected ascending whole numbers, separated by spaces, found {text!r}")
    return numbers


def checked(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return a value with its field's type; raises `ValueError` where the setting does not admit it."""
    typed: Any = _typed(field.type, value)
    limits = field.metadata
    if limits["choices"] and typed not in limits["choices"] and not (limits["admits_own"] and is_own(typed)):
        own = ", or 'module:attribute'" * limits["admits_own"]
        raise ValueError(f"expected one of {', '.join(limits['choices'])}{own}, found {value!r}")
    if limits["items"] and (unknown := [repr(item) for item in typed.split() if item not in limits["items"]]):
        raise ValueError(f"expected any of {', '.join(limits['items'])}, found {', '.join(unknown)}")
    if limits["whole_numbers"]:
        whole_numbers(typed)
    if limits["minimum"] is not None and typed < limits["minimum"]:
        raise ValueError(f"expected at least {limits['minimum']}, found {value!r}")
    if limits["above"] is not None and typed <= limits["above"]:
        raise ValueError(f"expected more than {limits['above']}, found {value!r}")
    if limits["maximum"] is not None and typed > limits["maximum"]:
        raise ValueError(f"expected at most {limits['maximum']}, found {value!r}")
    return typed


def _typed(expected: Any, value: Any) -> Any:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if expected is float and (is_whole or isinstance(value, float)):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number, found {value!r}")
        return float(value)  # TOML writes 1 where a float is meant
    if expected is int and is_whole and not -(2**63) <= value < 2**63:
        raise ValueError(f"expected a whole number of 64 bits, as Flower sends them, found {value!r}")
    if (expected is int and is_whole) or (expected is bool and isinstance(value, bool)):
        return value
    if expected is str and isinstance(value, str) and is_plain(value):
        return value
    if isinstance(value, str) and expected is str:
        raise ValueError(f"expected a text that UTF-8 can hold, without NUL, found {value!r}")
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise ValueError(f"expected {names[expected]}, found {value!r} ({type(value).__name__})")
