"""A single setting: what it means, which values it admits, and how a value is checked."""

import dataclasses
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fedmeta_flwr.config.registry import expected_names, is_custom, json_object, names
from fedmeta_flwr.plain_text import is_plain


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a setting means, and the values that it admits: the metadata of a field of `RunConfig`.

    Attributes
    ----------
    description : str
        What it means, for the configuration reference.
    minimum, maximum, above : float or None
        Range of a number; `above` itself is not admitted.
    choices : tuple of str
        The words that it admits; empty: any text.
    whole_numbers, json_object : bool
        Whether it is a text that lists ascending whole numbers, or the text of a JSON object.
    kind : str or None
        The kind of object that it names; see `fedmeta_flwr.config.registry`.
    admits_path : bool
        Whether it may also be the path of a file.
    is_free : bool
        Whether it does not change any result.
    is_path : bool
        Whether it names a file or a folder.
    absent : bool, int, str or None
        For a setting that some published result files lack: the value that corresponds to their runs.
    """

    description: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    whole_numbers: bool = False
    json_object: bool = False
    kind: str | None = None
    admits_path: bool = False
    is_free: bool = False
    is_path: bool = False
    absent: bool | int | str | None = None


def setting(description: str, **admitted: Any) -> Any:
    """Declare a field of `RunConfig`; the other arguments are attributes of `Setting`."""
    return dataclasses.field(metadata=vars(Setting(description=description, **admitted)))


def name_of(kind: str, description: str, **admitted: Any) -> Any:
    """Declare a field that names an object of a kind; the field's key is the kind."""
    return setting(description, kind=kind, choices=names(kind), **admitted)


def options_of(kind: str, *, absent: str | None = "") -> Any:
    """Declare a field with the options of the object that the setting `kind` names."""
    description = f"Keyword arguments of `{kind}`, besides those that the run itself sets; empty: none."
    return setting(description, json_object=True, absent=absent)


def key_of(field: "dataclasses.Field[Any]") -> str:
    """Return the run-config key of a field."""
    return field.name.replace("_", "-")


def whole_numbers(text: str) -> tuple[int, ...]:
    """Return the ascending whole numbers (0 or above) that a setting lists; raises `ValueError` for anything else."""
    words = text.split()
    numbers = tuple(int(word) for word in words if word.isdecimal())
    if not numbers or len(numbers) < len(words) or any(b <= a for a, b in pairwise(numbers)):
        raise ValueError(f"expected ascending whole numbers, separated by spaces, found {text!r}")
    return numbers


def checked(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return a value with its field's type; raises `ValueError` if the setting does not admit it."""
    typed: Any = _typed(field.type, value)
    limits = field.metadata
    if limits["kind"]:
        if not (typed in limits["choices"] or is_custom(typed) or limits["admits_path"]):
            raise ValueError(f"expected {expected_names(limits['kind'])}, found {value!r}")
    elif limits["choices"] and typed not in limits["choices"]:
        raise ValueError(f"expected one of {', '.join(limits['choices'])}, found {value!r}")
    if limits["whole_numbers"]:
        whole_numbers(typed)
    if limits["json_object"]:
        json_object(typed)
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
        return float(value)  # in TOML, people may write 1 for a float
    if expected is int and is_whole and not -(2**63) <= value < 2**63:
        raise ValueError(f"expected a whole number of 64 bits, which is what Flower sends, found {value!r}")
    if (expected is int and is_whole) or (expected is bool and isinstance(value, bool)):
        return value
    if expected is str and isinstance(value, str) and is_plain(value):
        return value
    if isinstance(value, str) and expected is str:
        raise ValueError(f"expected a text that UTF-8 can hold, without NUL, found {value!r}")
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise ValueError(f"expected {names[expected]}, found {value!r} ({type(value).__name__})")
