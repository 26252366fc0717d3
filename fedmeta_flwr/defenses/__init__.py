"""Defenses: how a client uses the global model. `base` explains how to write one."""

from fedmeta_flwr.config.registry import RegistryError, make
from fedmeta_flwr.defenses.base import Defense, LocalContext, LocalSteps, MatchingSettings, StepCurve

__all__ = ["Defense", "LocalContext", "LocalSteps", "MatchingSettings", "StepCurve", "make_defense"]


def make_defense(name: str, options: str = "") -> Defense:
    """Return the defense of a setting.

    Parameters
    ----------
    name : str
        The name of a built-in defense, or ``"module:attribute"`` of a callable that returns a `Defense`.
    options : str
        Keyword arguments of the defense, as a JSON object; empty: none.

    Raises
    ------
    RegistryError
        If the defense cannot be made.
    """
    try:
        defense: Defense = make("defense", name, Defense, {}, options)
    except RegistryError:
        raise
    except Exception as error:  # custom code may raise any exception
        raise RegistryError(
            f"defense: expected {name!r} to be made with defense-options = {options!r}, "
            f"found {type(error).__name__}: {error}"
        ) from error
    return defense
