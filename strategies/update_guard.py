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
from strategies.key_guard import KeyGuard
from strategies.received_array import LARGEST, LONGEST_NAME, read_array, shown
from strategies.transport.replies import failure_reason


@dataclass(frozen=True)
class Update:
    """The norm and metrics of a training reply, and the key that it brings.

    Attributes
    ----------
    norm : float
        Euclidean norm of the difference to the arrays that were sent, over all arrays, in float64.
    metrics : Mapping
        As the client reported them.
    key : dict or None
        The arrays of a key that an adversary has learnt; None if the reply has none.
    """

    norm: float
    metrics: Metrics
    key: Arrays | None = None


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
    keys : KeyGuard
        Says whose training replies may bring a learned key, and reads it. By default nobody's may.
    """

    max_num_examples: float = math.inf
    max_norm: float = math.inf
    least_metrics: Mapping[str, float] = field(default_factory=dict)
    max_metric_numbers: int = 1_000_000
    expected_counts: ExpectedCounts = ExpectedCounts()
    keys: KeyGuard = field(default_factory=KeyGuard)

    def read_update(
        self, reply: Message, instruction: Message, sent: Arrays, partition_id: int | None = None
    ) -> Update:
        """Check a training reply and measure its update.

        Parameters
        ----------
        reply : Message
            As it arrived; not changed.
        instruction : Message
            The instruction that it answers.
        sent : dict
            The global arrays in the instruction.
        partition_id : int or None
            The client; None: one whose reply may bring no key.

        Returns
        -------
        Update
            Its norm and metrics, and a learned key.

        Raises
        ------
        RejectedReplyError
            If the client failed or abstained, or the reply does not follow the protocol.
        """
        learned = self.keys.record_of(reply, instruction, partition_id)
        metrics = self._checked_metrics(reply, instruction, array_records=[messages.ARRAYS, *learned])
        for name, least in self.least_metrics.items():
            value = metrics.get(name)
            if not isinstance(value, int | float) or value < least:
                raise RejectedReplyError(f"{name}: expected a number of {least:g} or above, found {shown(value)}")
        record = reply.content.array_records[messages.ARRAYS]
        if set(record) != set(sent):
            missing, unknown = sorted(set(sent) - set(record)), sorted(set(record) - set(sent))
            raise RejectedReplyError(
                f"expected the {len(sent)} arrays that were sent, found {len(record)} "
                f"(missing {shown(missing)}, unknown {shown(unknown)})"
            )
        squares = (_squared_difference(name, record[name], sent[name]) for name in sent)
        norm = math.sqrt(sum(squares))
        if not norm <= self.max_norm:
            raise RejectedReplyError(f"expected an update of norm {self.max_norm:g} at most, found {norm:g}")
        return Update(norm=norm, metrics=metrics, key=self.keys.read(reply) if learned else None)

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
                    raise ValueError(f"a curve along steps named {shown(name)}")
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
            raise RejectedReplyError(f"expected an answer of type {asked}, found {shown(found)}")
        if messages.is_abstention(reply):
            raise RejectedReplyError(reason=DropReason.ABSTAINED)
        _check_records(reply, array_records)
        metrics = messages.message_metrics(reply)
        self._check_size(metrics)
        weight = metrics.get(messages.NUM_EXAMPLES)
        if not isinstance(weight, int | float) or not 0 < weight <= self.max_num_examples:
            most = "" if math.isinf(self.max_num_examples) else f" and at most {self.max_num_examples:g}"
            raise RejectedReplyError(f"{messages.NUM_EXAMPLES}: expected a number above 0{most}, found {shown(weight)}")
        for name, value in metrics.items():
            if not np.all(np.abs(np.asarray(value, np.float64)) <= LARGEST):
                raise RejectedReplyError(
                    f"{name[:LONGEST_NAME]}: expected finite numbers up to {LARGEST:.1g}, found others"
                )
        return metrics

    def _check_size(self, metrics: Metrics) -> None:
        numbers = sum(len(value) if isinstance(value, list) else 1 for value in metrics.values())
        if numbers > self.max_metric_numbers:
            raise RejectedReplyError(f"expected at most {self.max_metric_numbers} numbers as metrics, found {numbers}")
        if (longest := max((len(name) for name in metrics), default=0)) > LONGEST_NAME:
            raise RejectedReplyError(f"expected names of metrics up to {LONGEST_NAME} characters, found {longest}")


def _check_records(reply: Message, array_records: list[str]) -> None:
    content = reply.content
    for what, found, expected in (
        ("array records", list(content.array_records), array_records),
        ("metric records", list(content.metric_records), [messages.METRICS]),
        ("config records", list(content.config_records), []),
    ):
        if found != expected:
            raise RejectedReplyError(
                f"{what}: expected {expected or 'none'}, found {shown(found) if found else 'none'}"
            )


def _squared_difference(name: str, array: Array, sent: np.ndarray) -> float:
    """Check an array before and after decoding; return the squared norm of its difference to what was sent."""
    # The conversion to 64 bits is part of the subtraction: copies of large arrays would take most of the time.
    difference = np.subtract(read_array(name, array, sent), sent, dtype=np.float64)
    difference *= difference
    return float(np.sum(difference))


def _check_counts(counts: CurveCounts, required: ExpectedCounts, episodes: int | None) -> None:
    if unknown := set(counts) ^ set(required.curves):
        raise ValueError(f"curves other than {', '.join(required.curves)}: {shown(sorted(unknown))}")
    for curve, numbers in counts.items():
        pairs = list(zip(numbers.hits, numbers.trials, strict=True))
        whole = all(isinstance(number, int) for pair in pairs for number in pair)
        if not whole or not all(0 <= hits <= trials for hits, trials in pairs):
            raise ValueError(f"{curve}: expected 0 <= hits <= trials, found {shown(vars(numbers))}")
        episodes = max(len(pairs), 1) if episodes is None else episodes
        if len(pairs) != episodes:
            raise ValueError(f"{curve}: expected {episodes} episodes, found {len(pairs)}")
        found, expected = set(numbers.trials), required.trials.get(curve)
        if min(found) < 1 or (expected is not None and found != {expected}):
            raise ValueError(
                f"{curve}: expected {expected or 'above 0'} trials in each episode, found {shown(sorted(found))}"
            )
