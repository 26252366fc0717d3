"""The registry: it builds an object from its kind, its name and its options.

A setting names a built-in object, or a custom one as ``module:attribute``. Both are called with the same arguments, and
with the options in the setting ``KIND-options``, a JSON object. A built-in object is one line in `BUILT_IN`; it is
imported only when it is made, so this module imports none of them.

The module of a custom object is imported wherever the object is needed, in the server process and in every client
process. It is a file in the app's folder, which Flower ships to all of them, or part of an installed package.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any

_FLOWER, _OURS = "flwr.serverapp.strategy", "strategies.rules.server_side_clipping"

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "dataset": {
        "strokes": "fedmeta_flwr.data.strokes:load_strokes",
        "omniglot": "fedmeta_flwr.data.omniglot:load_omniglot",
        "mini-imagenet": "fedmeta_flwr.data.mini_imagenet:load_mini_imagenet",
        "image-folder": "fedmeta_flwr.data.image_folder:load_image_folder",
    },
    "client": {
        "built-in": "clients.defended:built_in_client",
    },
    "adversary": {
        "built-in": "clients.adversary:Adversary",
    },
    "strategy": {
        "fedavg": f"{_FLOWER}:FedAvg",
        "fedavgm": f"{_FLOWER}:FedAvgM",
        "fedadam": f"{_FLOWER}:FedAdam",
        "fedadagrad": f"{_FLOWER}:FedAdagrad",
        "fedyogi": f"{_FLOWER}:FedYogi",
        "fedmedian": f"{_FLOWER}:FedMedian",
        "fedtrimmedavg": f"{_FLOWER}:FedTrimmedAvg",
        "krum": f"{_FLOWER}:Krum",
        "multikrum": f"{_FLOWER}:MultiKrum",
        "bulyan": f"{_FLOWER}:Bulyan",
        "fedprox": f"{_FLOWER}:FedProx",
        "qfedavg": f"{_FLOWER}:QFedAvg",
        "dp-server-fixed-clipping": f"{_OURS}:ServerSideFixedClipping",
        "dp-client-fixed-clipping": f"{_FLOWER}:DifferentialPrivacyClientSideFixedClipping",
        "dp-server-adaptive-clipping": f"{_OURS}:ServerSideAdaptiveClipping",
        "dp-client-adaptive-clipping": f"{_FLOWER}:DifferentialPrivacyClientSideAdaptiveClipping",
    },
    "arrival-model": {
        "latency": "strategies.transport.arrivals:SeededLatency",
        "wall-clock": "strategies.transport.arrivals:wall_clock",
    },
    "embedding": {
        "conv4": "fedmeta_flwr.learning.models:Conv4",
        "conv4-pool": "fedmeta_flwr.learning.models:pooling_conv4",
    },
    "poisoning": {
        "replacement": "fedmeta_flwr.attacks.poisoning:poison_episode",
    },
    "backdoor-key": {
        "dots": "fedmeta_flwr.attacks.key:dots",
        "dots-inverted": "fedmeta_flwr.attacks.key:dots_inverted",
        "patch": "fedmeta_flwr.attacks.key:patch",
    },
    "attack": {
        "model-replacement": "fedmeta_flwr.attacks.model_replacement:ModelReplacement",
        "constrain-and-scale": "fedmeta_flwr.attacks.constrain_and_scale:ConstrainAndScale",
        "private-part-noise": "fedmeta_flwr.attacks.private_part_noise:PrivatePartNoise",
        "alignment": "fedmeta_flwr.attacks.alignment:Alignment",
        "defense-in-the-loop": "fedmeta_flwr.attacks.defense_in_the_loop:DefenseInTheLoop",
        "distributed-key": "fedmeta_flwr.attacks.distributed_key:DistributedKey",
        "learned-key": "fedmeta_flwr.attacks.learned_key:LearnedKey",
        "inner-product-manipulation": "fedmeta_flwr.attacks.untargeted:InnerProductManipulation",
        "min-max": "fedmeta_flwr.attacks.untargeted:MinMax",
        "a-little-is-enough": "fedmeta_flwr.attacks.a_little_is_enough:ALittleIsEnough",
    },
    "attack-layer": {
        "norm-bound": "fedmeta_flwr.attacks.layers.norm_bound:NormBound",
        "neurotoxin": "fedmeta_flwr.attacks.layers.neurotoxin:Neurotoxin",
    },
    "attention": {
        "cosine": "fedmeta_flwr.learning.matching_network:Attention",
    },
    "defense": {
        "none": "fedmeta_flwr.defenses.none:Undefended",
        "fresh-head": "fedmeta_flwr.defenses.fresh_head:FreshHead",
        "rescue": "fedmeta_flwr.defenses.matching.rescue:Rescue",
        "federation": "fedmeta_flwr.defenses.matching.federation:DefendedFederation",
    },
}
"""By kind, then by name, the ``module:attribute``. A kind is the key of the setting that names the object."""

_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED = rf"{_IDENTIFIER}(\.{_IDENTIFIER})*"
_NAME = re.compile(f"{_DOTTED}:{_DOTTED}")
_MAX_SHOWN_CHARACTERS = 200


class RegistryError(ValueError):
    """An object that cannot be made; names the setting, what was expected, and what was found."""


def is_custom(value: str) -> bool:
    """Return whether a setting's value names a custom object."""
    return _NAME.fullmatch(value) is not None


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in objects of a kind."""
    return tuple(BUILT_IN[kind])


def expected_names(kind: str, *others: str) -> str:
    """Return the names that a kind of object admits, as the ``expected`` part of a message."""
    return f"one of {', '.join([*names(kind), *others])}, or 'module:attribute'"


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """Import an object.

    Parameters
    ----------
    kind : str
        The setting that names it.
    name : str
        The name of a built-in object, or ``"module:attribute"``.

    Raises
    ------
    RegistryError
        If there is no such name, the module cannot be imported or has no such attribute, or the attribute cannot be
        called.
    """
    path = BUILT_IN[kind].get(name, name)
    if not is_custom(path):
        raise RegistryError(f"{kind}: expected {expected_names(kind)}, found {name!r}")
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
        raise RegistryError(f"{kind}: expected something to call, found {name!r}, of type {type(found).__name__}")
    return found


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; an empty text gives an empty one. Raises `ValueError` for anything else."""
    shown = repr(text[:_MAX_SHOWN_CHARACTERS]) + "..." * (len(text) > _MAX_SHOWN_CHARACTERS)
    try:
        parsed = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:  # ValueError also for a number with thousands of digits
        raise ValueError(f"expected a JSON object, found {shown} ({error})") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"expected a JSON object, found {shown}")
    return parsed


def parse_options(kind: str, options: str) -> dict[str, Any]:
    """Return the options of an object from the text of their setting, a JSON object; empty: none.

    Raises
    ------
    RegistryError
        If the text is not a JSON object.
    """
    try:
        return json_object(options)
    except ValueError as error:
        raise RegistryError(f"{kind}-options: {error}") from error


def require_arguments(
    kind: str, name: str, found: Callable[..., Any], options: Mapping[str, Any], *positional: Any, **named: Any
) -> None:
    """Check that an object takes the arguments that it will be called with, and the options.

    Raises
    ------
    RegistryError
        If it does not take an argument or an option, or if the run itself sets an option.
    """
    signature = _signature(found)
    try:
        set_by_run = signature.bind_partial(*positional, **named).arguments.keys() | named.keys()
    except TypeError as error:
        raise _wrong_arguments(kind, name, error) from error
    if taken := sorted(set(options) & set_by_run):
        raise RegistryError(f"{kind}-options: expected no option that the run sets itself, found {taken[0]!r}")
    require_options(kind, name, found, options, set_by_run)
    try:
        signature.bind(*positional, **named, **options)
    except TypeError as error:
        raise _wrong_arguments(kind, name, error) from error


def require_options(
    kind: str,
    name: str,
    found: Callable[..., Any],
    options: Collection[str],
    set_by_run: Collection[str] = (),
) -> None:
    """Check that an object takes the options; raises a `RegistryError` that lists the possible options."""
    parameters = _signature(found).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if unknown := sorted(set(options) - set(parameters) if not takes_any else ()):
        known = ", ".join(key for key in parameters if key not in set_by_run) or "none"
        raise RegistryError(f"{kind}-options: expected options of {name} ({known}), found {unknown[0]!r}")


def make(
    kind: str, name: str, expected: type | tuple[type, ...], arguments: Mapping[str, Any], options: str = ""
) -> Any:
    """Import a callable, call it, and return the result.

    Parameters
    ----------
    kind, name
        As in `resolve`.
    expected : type or tuple of types
        The result must be an instance of it.
    arguments : mapping
        The arguments that every object of this kind is called with.
    options : str
        Further arguments, as in `parse_options`.

    Raises
    ------
    RegistryError
        As in `resolve`, `parse_options` and `require_arguments`; also if the callable refuses an option, or returns
        something else.
    """
    return call(kind, name, resolve(kind, name), expected, arguments, options=options)


@contextmanager
def refusals(kind: str, name: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn an exception in the block into a `RegistryError` that names the options; without options, let it pass."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError) as error:
        if not options:
            raise
        raise RegistryError(f"{kind}-options: {name} refuses {dict(options)!r}: {error}") from error


@contextmanager
def custom_code(kind: str, name: str, options: str) -> Iterator[None]:
    """Turn any exception of custom code in the block into a `RegistryError` that names the object and its options."""
    chosen = parse_options(kind, options)
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        if chosen:
            raise RegistryError(f"{kind}-options: {name} refuses {chosen!r}: {found}") from error
        raise RegistryError(f"{kind}: expected {name!r} to pass its trial before the run, found {found}") from error


def call(
    kind: str,
    name: str,
    build: Callable[..., Any],
    expected: type | tuple[type, ...],
    arguments: Mapping[str, Any],
    *,
    options: str = "",
) -> Any:
    """Call `build`, and return the object that it makes; parameters and errors are those of `make`."""
    chosen = parse_options(kind, options)
    require_arguments(kind, name, build, chosen, **arguments)
    with refusals(kind, name, chosen):
        made = build(**arguments, **chosen)
    if not isinstance(made, expected):
        one_of = expected if isinstance(expected, tuple) else (expected,)
        types = " or ".join(one.__name__ for one in one_of)
        raise RegistryError(f"{kind}: expected {name!r} to return {types}, found {type(made).__name__}")
    return made


def _wrong_arguments(kind: str, name: str, error: TypeError) -> RegistryError:
    return RegistryError(
        f"{kind}: expected {name!r} to take the arguments of the built-in one, found one that does not ({error})"
    )


def _signature(found: Callable[..., Any]) -> inspect.Signature:
    """Return an object's signature; one that admits anything for an object written in C without a signature."""
    try:
        return inspect.signature(found)
    except ValueError:
        return inspect.signature(lambda *_, **__: None)
