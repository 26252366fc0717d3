"""Check the form of replies; only well-formed ones reach the strategy.

Replies come from machines that may fail or be hostile. A malformed reply must neither end the run nor reach the model.
The guard examines only the form of a reply: names, shapes, types, sizes, finite numbers. It does not compare updates
and asks clients for nothing more than they send anyway, so it costs no privacy. Only the optional bound on the norm
depends on what was learnt. A well-formed poisoned update passes by design; the clients defend themselves against it
(`fedmeta_flwr.defenses`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, Message

from fedmeta_flwr.protocol import Arrays, Metrics, messages
from fedmeta_flwr.records import CURVES, STEP_CURVES, ClientEvaluation, CurveCounts, DropReason
from strategies.errors import RejectedReplyError
from strategies.transport.replies import failure_reason

_LARGEST = math.sqrt(float(np.finfo(np.float32).max)) / 100
"""About 1.8e17; squares of larger numbers, summed over clients, may leave the range of a float32."""

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Update:
    """The norm and metrics of a training reply.

    Attributes
    ----------
    norm : float
        Euclidean norm of the difference to the arrays that were sent, over all arrays, in float64.
    metrics : Mapping
        As the client reported them.
    """

    norm: float
    metrics: Metrics


@dataclass(frozen=True)
class ExpectedCounts:
    """How many episodes and trials a client must report, so that all clients have equal weight in an accuracy.

    Attributes
    ----------
    trials : Mapping of str to int
        Queries per episode, by curve. A curve that is not listed may have any number above 0.
    episodes : int or None
        Episodes of each kind. None: any number, the same for all curves.
    step_curves : Mapping of str to (int or None)
        The episodes of each kind of every admitted curve along steps, by its name in results. None: any number.
    curves : tuple of str
        The curves that must be counted.
    """

    trials: Mapping[str, int] = field(default_factory=dict)
    episodes: int | None = None
    step_curves: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(STEP_CURVES))
    curves: tuple[str, ...] = CURVES


@dataclass(frozen=True, kw_only=True)
class UpdateGuard:
    """Reads replies, and rejects those that do not follow the protocol.

    Attributes
    ----------
    max_num_examples : float
        Largest number of examples that a client may report.
    max_norm : float
        Largest norm of an update.
    least_metrics : Mapping of str to float
        Metrics that a training reply must have, with the least value of each. Other metrics are admitted, for
        strategies and custom clients; `messages.keep_common_metrics` keeps those that all replies have.
    max_metric_numbers : int
        How many numbers the metrics of a reply may have in total.
    expected_counts : ExpectedCounts
        Episodes and trials that an evaluation must have.
    """

    max_num_examples: float = math.inf
    max_norm: float = math.inf
    least_metrics: Mapping[str, float] = field(default_factory=dict)
    max_metric_numbers: int = 1_000_000
    expected_counts: ExpectedCounts = ExpectedCounts()

    def read_update(self, reply: Message, instruction: Message, sent: Arrays) -> Update:
        """Check a training reply and measure its update.

        Parameters
        ----------
        reply : Message
            As it arrived; not changed.
        instruction : Message
            The instruction that it answers.
        sent : dict
            The global arrays in the instruction.

        Returns
        -------
        Update
            Its norm and metrics.

        Raises
        ------
        RejectedReplyError
            If the client failed or abstained, or the reply does not follow the protocol.
        """
        metrics = self._checked_metrics(reply, instruction, array_records=[messages.ARRAYS])
        for name, least in self.least_metrics.items():
            value = metrics.get(name)
            if not isinstance(value, int | float) or value < least:
                raise RejectedReplyError(f"{name}: expected a number of {least:g} or above, found {_shown(value)}")
        record = reply.content.array_records[messages.ARRAYS]
        if set(record) != set(sent):
            missing, unknown = sorted(set(sent) - set(record)), sorted(set(record) - set(sent))
            raise RejectedReplyError(
                f"expected the {len(sent)} arrays that were sent, found {len(record)} "
                f"(missing {_shown(missing)}, unknown {_shown(unknown)})"
            )
        squares = (_squared_difference(name, record[name], sent[name]) for name in sent)
        norm = math.sqrt(sum(squares))
        if not norm <= self.max_norm:
            raise RejectedReplyError(f"expected an update of norm {self.max_norm:g} at most, found {norm:g}")
        return Update(norm=norm, metrics=metrics)

    def read_evaluation(self, partition_id: int, reply: Message, instruction: Message) -> ClientEvaluation:
        """Check an evaluation reply of a client and return its counts.

        Raises
        ------
        RejectedReplyError
            If the client failed or abstained, if the curves or the numbers of episodes and trials are not the expected
            ones, or if not 0 <= hits <= trials in every episode.
        """
        metrics = self._checked_metrics(reply, instruction, array_records=[])
        try:
            counts = messages.metrics_to_counts(metrics)
            step_curves = messages.metrics_to_step_curves(metrics)
            expected = self.expected_counts
            _check_counts(counts, expected, expected.episodes)
            for name, steps in step_curves.items():
                if name not in expected.step_curves:
                    raise ValueError(f"a curve along steps named {_shown(name)}")
                for counts_at_step in steps.values():
                    _check_counts(counts_at_step, expected, expected.step_curves[name])
        except (KeyError, TypeError, ValueError) as error:
            raise RejectedReplyError(f"expected hits and trials of every curve, found {error}") from error
        return ClientEvaluation(partition_id, counts, step_curves)

    def _checked_metrics(self, reply: Message, instruction: Message, array_records: list[str]) -> Metrics:
        """Check everything about a reply except its arrays; return its metrics."""
        if reply.has_error():
            raise RejectedReplyError(failure_reason(reply))
        if (found := reply.metadata.message_type) != (asked := instruction.metadata.message_type):
            raise RejectedReplyError(f"expected an answer of type {asked}, found {_shown(found)}")
        if messages.is_abstention(reply):
            raise RejectedReplyError(reason=DropReason.ABSTAINED)
        _check_records(reply, array_records)
        metrics = messages.message_metrics(reply)
        self._check_size(metrics)
        weight = metrics.get(messages.NUM_EXAMPLES)
        if not isinstance(weight, int | float) or not 0 < weight <= self.max_num_examples:
            most = "" if math.isinf(self.max_num_examples) else f" and at most {self.max_num_examples:g}"
            raise RejectedReplyError(
                f"{messages.NUM_EXAMPLES}: expected a number above 0{most}, found {_shown(weight)}"
            )
        for name, value in metrics.items():
            if not np.all(np.abs(np.asarray(value, np.float64)) <= _LARGEST):
                raise RejectedReplyError(
                    f"{name[:_LONGEST_NAME]}: expected finite numbers up to {_LARGEST:.1g}, found others"
                )
        return metrics

    def _check_size(self, metrics: Metrics) -> None:
        numbers = sum(len(value) if isinstance(value, list) else 1 for value in metrics.values())
        if numbers > self.max_metric_numbers:
            raise RejectedReplyError(f"expected at most {self.max_metric_numbers} numbers as metrics, found {numbers}")
        if (longest := max((len(name) for name in metrics), default=0)) > _LONGEST_NAME:
            raise RejectedReplyError(f"expected names of metrics up to {_LONGEST_NAME} characters, found {longest}")


def _check_records(reply: Message, array_records: list[str]) -> None:
    content = reply.content
    for what, found, expected in (
        ("array records", list(content.array_records), array_records),
        ("metric records", list(content.metric_records), [messages.METRICS]),
        ("config records", list(content.config_records), []),
    ):
        if found != expected:
            raise RejectedReplyError(
                f"{what}: expected {expected or 'none'}, found {_shown(found) if found else 'none'}"
            )


def _squared_difference(name: str, array: Array, sent: np.ndarray) -> float:
    """Check an array before and after decoding; return the squared norm of its difference to what was sent."""
    _check_declaration(name, array, sent)
    try:
        values = array.numpy()
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise RejectedReplyError(f"array {name!r}: expected readable numbers, found {_shown(error)}") from error
    _check_range(name, values)
    # The conversion to 64 bits is part of the subtraction: copies of large arrays would take most of the time.
    difference = np.subtract(values, sent, dtype=np.float64)
    difference *= difference
    return float(np.sum(difference))


def _check_range(name: str, values: np.ndarray) -> None:
    """Require finite numbers of a moderate size; lowest and highest are NaN where any number is."""
    if not values.size or (float(values.min()) >= -_LARGEST and float(values.max()) <= _LARGEST):
        return
    if not np.isfinite(values).all():
        raise RejectedReplyError(f"array {name!r}: expected finite numbers, found others")
    raise RejectedReplyError(f"array {name!r}: expected numbers up to {_LARGEST:.1g}, found others")


def _check_declaration(name: str, array: Array, sent: np.ndarray) -> None:
    """Check the type and shape that an array declares, outside and inside its bytes: decoding allocates that memory."""
    try:
        inside, size = messages.declared_array(array)
    except (ValueError, TypeError) as error:
        raise RejectedReplyError(f"array {name!r}: expected NumPy's format, found {_shown(error)}") from error
    for found in ((str(array.dtype), tuple(array.shape)), inside):
        if found != (str(sent.dtype), sent.shape):
            raise RejectedReplyError(
                f"array {name!r}: expected {sent.dtype} of shape {sent.shape}, found {_shown(found[0])} of "
                f"{_shown(found[1])}"
            )
    if size != sent.nbytes:
        raise RejectedReplyError(f"array {name!r}: expected {sent.nbytes} bytes of numbers, found {size}")


def _check_counts(counts: CurveCounts, required: ExpectedCounts, episodes: int | None) -> None:
    if unknown := set(counts) ^ set(required.curves):
        raise ValueError(f"curves other than {', '.join(required.curves)}: {_shown(sorted(unknown))}")
    for curve, numbers in counts.items():
        pairs = list(zip(numbers.hits, numbers.trials, strict=True))
        whole = all(isinstance(number, int) for pair in pairs for number in pair)
        if not whole or not all(0 <= hits <= trials for hits, trials in pairs):
            raise ValueError(f"{curve}: expected 0 <= hits <= trials, found {_shown(vars(numbers))}")
        episodes = max(len(pairs), 1) if episodes is None else episodes
        if len(pairs) != episodes:
            raise ValueError(f"{curve}: expected {episodes} episodes, found {len(pairs)}")
        found, expected = set(numbers.trials), required.trials.get(curve)
        if min(found) < 1 or (expected is not None and found != {expected}):
            raise ValueError(
                f"{curve}: expected {expected or 'above 0'} trials in each episode, found {_shown(sorted(found))}"
            )


def _shown(value: object) -> str:
    """Return the text of an untrusted value, short enough for a log."""
    text = repr(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
