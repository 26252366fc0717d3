"""Defenses: what a client does with the global model. `base` says how to write one."""

from fedmeta_flwr.config.registry import RegistryError, make
from fedmeta_flwr.defenses.base import Defense, LocalContext, LocalSteps, MatchingSettings, StepCurve

__all__ = ["Defense", "LocalContext", "LocalSteps", "MatchingSettings", "StepCurve", "make_defense"]


def make_defense(name: str, options: str = "") -> Defense:
    """Return the defense of a setting.

    Parameters
    ----------
    name : str
        A built-in one, or ``"module:attribute"`` of what returns a `Defense`.
    options : str
        Its keyword arguments as a JSON object; empty: none.

    Raises
    ------
    RegistryError
        If it cannot be made.
    """
    try:
        defense: Defense = make("defense", name, Defense, {}, options)
    except RegistryError:
        raise
    except Exception as error:  # whatever custom code raises
        raise RegistryError(
            f"defense: expected {name!r} to be made with defense-options = {options!r}, "
            f"found {type(error).__name__}: {error}"
        ) from error
    return defense
