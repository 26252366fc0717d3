"""Objects of the user's own, which a setting names as ``module:attribute`` in the place of a built-in one.

An own object is called exactly as the built-in one is that it stands in for. Its module is imported wherever the object
is needed, the server's process and every client's: it is a file in the app's folder, which Flower ships to all of them,
or part of an installed package.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED = rf"{_IDENTIFIER}(\.{_IDENTIFIER})*"
_NAME = re.compile(f"{_DOTTED}:{_DOTTED}")


class OwnCodeError(ValueError):
    """An object of the user's own that cannot be used; says the setting, what was expected, and what was found."""


def is_own(value: str) -> bool:
    """Tell whether a setting's value names an object of the user's own."""
    return _NAME.fullmatch(value) is not None


def load_own(key: str, name: str) -> Callable[..., Any]:
    """Import an object.

    Parameters
    ----------
    key : str
        The setting that names it.
    name : str
        ``"module:attribute"``.

    Raises
    ------
    OwnCodeError
        If the module cannot be imported, or has no such attribute, or that cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise OwnCodeError(
            f"{key}: expected a module that can be imported, in the app's folder or an installed package, "
            f"found {name!r} ({type(error).__name__}: {error})"
        ) from error
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise OwnCodeError(
            f"{key}: expected an attribute of module {module_name!r}, found none named {attribute!r}"
        ) from error
    if not callable(found):
        raise OwnCodeError(f"{key}: expected something to call, found {name!r}, a {type(found).__name__}")
    return found


def require_arguments(key: str, name: str, found: Callable[..., Any], *positional: Any, **named: Any) -> None:
    """Check that an object takes the arguments that it will be called with; raises `OwnCodeError` where it does not."""
    try:
        signature = inspect.signature(found)
    except ValueError:  # some that are written in C have none to look at
        return
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise OwnCodeError(
            f"{key}: expected {name!r} to take the arguments of the built-in one, found one that does not ({error})"
        ) from error


def make_own(key: str, name: str, kind: Any, **arguments: Any) -> Any:
    """Import an object, call it, and return what it makes.

    Parameters
    ----------
    key, name
        As in `load_own`.
    kind : type
        What it is to return an instance of.
    **arguments
        What the built-in object is called with.

    Raises
    ------
    OwnCodeError
        As `load_own`; also where it does not take these arguments, or returns something else.
    """
    make = load_own(key, name)
    require_arguments(key, name, make, **arguments)
    made = make(**arguments)
    if not isinstance(made, kind):
        raise OwnCodeError(f"{key}: expected {name!r} to return a {kind.__name__}, found a {type(made).__name__}")
    return made
