"""The values that the options of Flower's strategies admit; others would fail or wait forever, some rounds later.

A bound that does not follow from an option's definition is far beyond any useful value, but small enough that a float32
model stays finite.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from flwr.serverapp.strategy import Strategy

from strategies.errors import StrategyError

_MOST_NODES = 1_000_000
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Range:
    """The numbers that an option admits.

    Attributes
    ----------
    least, most : float
        Its bounds.
    is_open_below, is_open_above : bool
        Whether the bound itself is excluded.
    or_zero : bool
        Whether 0 is admitted as well.
    """

    least: float
    most: float
    is_open_below: bool = False
    is_open_above: bool = False
    or_zero: bool = False

    def admits(self, number: float) -> bool:
        """Return whether a number lies in the range; NaN does not."""
        if self.or_zero and number == 0:
            return True
        is_above = self.least < number if self.is_open_below else self.least <= number
        is_below = number < self.most if self.is_open_above else number <= self.most
        return is_above and is_below

    def __str__(self) -> str:
        zero = "0, or " * self.or_zero
        if not self.is_open_below and not self.is_open_above:
            return f"{zero}{self.least:g} to {self.most:g}"
        least = f"above {self.least:g}" if self.is_open_below else f"{self.least:g} or above"
        most = f"below {self.most:g}" if self.is_open_above else f"at most {self.most:g}"
        return f"{zero}{least} and {most}"


_SHARE = Range(0, 1)
_DECAY = Range(0, 1, is_open_above=True)
_RATE = Range(0, 1000, is_open_below=True)
_NODES = Range(1, _MOST_NODES)
_NORM = Range(0, 10_000, is_open_below=True)

RANGES: Mapping[str, Range] = {
    "fraction_train": Range(0, 1, is_open_below=True),
    "fraction_evaluate": _SHARE,
    "min_train_nodes": _NODES,
    "min_evaluate_nodes": _NODES,
    "min_available_nodes": _NODES,
    # FedAvgM
    "server_learning_rate": _RATE,
    "server_momentum": _DECAY,
    # FedAdam, FedAdagrad, FedYogi; with a much smaller tau they divide by what is 0 as a float32
    "eta": _RATE,
    "eta_l": _RATE,
    "beta_1": _DECAY,
    "beta_2": _DECAY,
    "tau": Range(1e-12, 1000),
    # FedTrimmedAvg
    "beta": Range(0, 0.5, is_open_above=True),
    # Krum, MultiKrum, Bulyan
    "num_malicious_nodes": Range(0, _MOST_NODES),
    "num_nodes_to_select": _NODES,
    # FedProx
    "proximal_mu": Range(0, 1000),
    # QFedAvg: powers of a loss that a client may report as 1e17
    "client_learning_rate": Range(1e-6, 1000),
    "q": Range(0, 15),
    # Differential privacy
    "noise_multiplier": Range(1e-6, 1000, or_zero=True),
    "num_sampled_clients": _NODES,
    "clipping_norm": _NORM,
    "initial_clipping_norm": _NORM,
    "target_clipped_quantile": _SHARE,
    "clip_norm_lr": Range(0, 1, is_open_below=True),
    "clipped_count_stddev": Range(0, _MOST_NODES),
}
"""Ranges by option; an option means the same in every strategy that has it."""


def numeric_options(kind: Callable[..., Strategy]) -> list[str]:
    """Return the numeric options of a strategy."""
    parameters = inspect.signature(kind).parameters.values()
    return [parameter.name for parameter in parameters if {int, float} & set(_types(parameter.annotation))]


def require_admitted(name: str, kind: Callable[..., Strategy], options: Mapping[str, Any]) -> None:
    """Check the ranges of all numeric options; their types have been checked.

    Parameters
    ----------
    name : str
        The strategy's name, for the message.
    kind : callable
        A Flower strategy.
    options : mapping
        Arguments of its constructor, as read from JSON.

    Raises
    ------
    StrategyError
        Names the strategy, the option, what was expected, and what was found.
    """
    parameters = inspect.signature(kind).parameters
    numbers = numeric_options(kind)
    for key, value in options.items():
        if value is None:
            continue
        if not set(_types(parameters[key].annotation)) & {int, float, str, bool}:
            raise _refusal(name, key, "null, for JSON has no functions", value)
        if key in numbers and not RANGES[key].admits(value):
            raise _refusal(name, key, str(RANGES[key]), value)


def require_type(name: str, key: str, annotation: Any, value: Any) -> None:
    """Check an option against a plain annotation; raises `StrategyError` if its type is another one."""
    types = _types(annotation)
    plain = [kind for kind in types if kind in (int, float, str, bool)]
    if not plain or (value is None and type(None) in types):
        return
    admitted = (*plain, int) if float in plain else tuple(plain)
    is_flag = isinstance(value, bool) and bool not in plain
    if is_flag or not isinstance(value, admitted):
        raise _refusal(name, key, " or ".join(kind.__name__ for kind in plain), value)


def require_consistent(name: str, given: Mapping[str, Any], options: Mapping[str, Any], quorum: int) -> None:
    """Check options against each other and against the quorum.

    Parameters
    ----------
    name : str
        The strategy's name, for the message.
    given : mapping
        The options that the user has set.
    options : mapping
        The same, with the defaults.
    quorum : int
        Number of updates that the strategy gets in each round.

    Raises
    ------
    StrategyError
        As `require_admitted`.
    """
    beta = given.get("beta", 0)
    if name == "fedtrimmedavg" and beta > 0 and int(beta * quorum) == 0:
        raise _refusal(
            name,
            "beta",
            f"0, or at least {math.ceil(1000 / quorum) / 1000} (less trims none of {quorum} updates)",
            beta,
        )
    if name.endswith("adaptive-clipping"):
        _require_consistent_noise(name, options, quorum)


def _require_consistent_noise(name: str, options: Mapping[str, Any], quorum: int) -> None:
    """Check theorem 1 of Andrew et al. 2021: the noise on the count is part of the total noise."""
    noise, count_noise = options["noise_multiplier"], options.get("clipped_count_stddev")
    if count_noise is not None and count_noise > quorum:
        raise _refusal(name, "clipped_count_stddev", f"at most the quorum = {quorum}, which it blurs", count_noise)
    default = "" if count_noise is not None else ", of which the default is num_sampled_clients / 20"
    count_noise = options["num_sampled_clients"] / 20 if count_noise is None else count_noise
    if noise and noise >= 2 * count_noise * (1 - 1e-9):
        raise _refusal(
            name, "noise_multiplier", f"below 2 * clipped_count_stddev = {2 * count_noise:g}{default}", noise
        )


def _types(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


def _refusal(name: str, key: str, expected: str, found: object) -> StrategyError:
    shown = repr(found)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
    return StrategyError(f"strategy-options: {name}: {key}: expected {expected}, found {shown}")
