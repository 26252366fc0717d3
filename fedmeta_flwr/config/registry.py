"""The registry: from a kind of object, a name and options to the object.

A setting names a built-in object, or a custom one as ``module:attribute``. Both are called with the same arguments, and
with the options that the setting ``KIND-options`` holds as a JSON object. A built-in object is one line in `BUILT_IN`;
it is imported where it is made, so that this module imports none of them.

The module of a custom object is imported wherever the object is needed, in the server's process and in every client's:
it is a file in the app's folder, which Flower ships to all of them, or part of an installed package.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "attention": {
        "cosine": "fedmeta_flwr.learning.matching_network:Attention",
    },
    "defense": {
        "none": "fedmeta_flwr.defenses.none:Undefended",
        "rescue": "fedmeta_flwr.defenses.matching.rescue:Rescue",
        "federation": "fedmeta_flwr.defenses.matching.federation:Federation",
    },
}
"""Kind to names to ``module:attribute``. A kind is the key of the setting that names the object."""

_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED = rf"{_IDENTIFIER}(\.{_IDENTIFIER})*"
_NAME = re.compile(f"{_DOTTED}:{_DOTTED}")
_LONGEST_SHOWN = 200


class RegistryError(ValueError):
    """An object that cannot be made; says the setting, what was expected, and what was found."""


def is_custom(value: str) -> bool:
    """Return whether a setting's value names a custom object."""
    return _NAME.fullmatch(value) is not None


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in objects of a kind."""
    return tuple(BUILT_IN[kind])


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """Import an object.

    Parameters
    ----------
    kind : str
        The setting that names it.
    name : str
        A name of a built-in object, or ``"module:attribute"``.

    Raises
    ------
    RegistryError
        If there is no such name, the module cannot be imported, or has no such attribute, or that cannot be called.
    """
    path = BUILT_IN.get(kind, {}).get(name, name)
    if not is_custom(path):
        known = "".join(f"{known}, " for known in BUILT_IN.get(kind, {}))
        raise RegistryError(f"{kind}: expected one of {known}or 'module:attribute', found {name!r}")
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise RegistryError(
            f"{kind}: expected a module that can be imported, in the app's folder or an installed package, "
            f"found {name!r} ({type(error).__name__}: {error})"
        ) from error
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise RegistryError(
            f"{kind}: expected an attribute of module {module_name!r}, found none named {attribute!r}"
        ) from error
    if not callable(found):
        raise RegistryError(f"{kind}: expected something to call, found {name!r}, a {type(found).__name__}")
    return found


def parse_options(kind: str, options: str) -> dict[str, Any]:
    """Return the options of an object, which a setting holds as a JSON object; empty: none.

    Raises
    ------
    RegistryError
        If they are no JSON object.
    """
    try:
        parsed = json.loads(options or "{}")
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        shown = repr(options[:_LONGEST_SHOWN]) + "..." * (len(options) > _LONGEST_SHOWN)
        raise RegistryError(f"{kind}-options: expected a JSON object, found {shown} ({error})") from error
    if not isinstance(parsed, dict):
        raise RegistryError(f"{kind}-options: expected a JSON object, found {options!r}")
    return parsed


def require_arguments(
    kind: str, name: str, found: Callable[..., Any], options: Mapping[str, Any], *positional: Any, **named: Any
) -> None:
    """Check that an object takes the arguments that it will be called with, and the options.

    Raises
    ------
    RegistryError
        If it does not take an argument, or there is an option that it does not take or that the run sets itself.
    """
    if taken := sorted(set(options) & set(named)):
        raise RegistryError(f"{kind}-options: expected no option that the run sets itself, found {taken[0]!r}")
    try:
        signature = inspect.signature(found)
    except ValueError:  # some that are written in C have none to look at
        return
    parameters = signature.parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if unknown := sorted(set(options) - set(parameters) if not takes_any else ()):
        known = ", ".join(key for key in parameters if key not in named) or "none"
        raise RegistryError(f"{kind}-options: expected options of {name} ({known}), found {unknown[0]!r}")
    try:
        signature.bind(*positional, **named, **options)
    except TypeError as error:
        raise RegistryError(
            f"{kind}: expected {name!r} to take the arguments of the built-in one, found one that does not ({error})"
        ) from error


def make(kind: str, name: str, expected: Any, arguments: Mapping[str, Any], options: str = "") -> Any:
    """Import an object, call it, and return what it makes.

    Parameters
    ----------
    kind, name
        As in `resolve`.
    expected : type
        What it is to return an instance of.
    arguments : mapping
        What every object of this kind is called with.
    options : str
        As in `parse_options`.

    Raises
    ------
    RegistryError
        As `resolve`, `parse_options` and `require_arguments`; also where it returns something else.
    """
    build, chosen = resolve(kind, name), parse_options(kind, options)
    require_arguments(kind, name, build, chosen, **arguments)
    made = build(**arguments, **chosen)
    if not isinstance(made, expected):
        raise RegistryError(f"{kind}: expected {name!r} to return a {expected.__name__}, found a {type(made).__name__}")
    return made
