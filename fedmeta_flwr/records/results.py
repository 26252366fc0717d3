"""The result file of a run: JSON lines, with a record of the run first, then one per round, and one of the end last.

Figures are drawn only from this file. Wall-clock times are in a separate file next to it, so two runs of the same
configuration have byte-identical result files, even if one of them was interrupted and resumed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from fedmeta_flwr.plain_text import TextError, decoded
from fedmeta_flwr.records.drops import Drop
from fedmeta_flwr.records.entries import Arrival, ClientEvaluation, Counts

FILE_NAME = "results.jsonl"
TIMES_FILE_NAME = "times.jsonl"
CLIENTS_FOLDER = "clients"
FORMAT = 1

CURVES = ("meta_testing", "main_task", "attack_training", "attack_validation")
"""The four curves of the poster; `fedmeta_flwr.learning.evaluation` says what each counts."""

STEP_CURVES = ("fine_tuning", "matching", "head")
"""The curves along local steps: fine-tuning of an episode, local training of the matching network, and as much local
training with the fully-connected head. A custom defense may have another curve."""


class ResultsError(ValueError):
    """A result file that cannot be written or read; says which file and why."""


def run_folder(results_dir: str, run_id: int) -> Path:
    """Return a run's folder: the configured folder, or a folder below the user's data folder."""
    return Path(results_dir) if results_dir else user_data_path("fedmeta_flwr") / "runs" / str(run_id)


@dataclass(frozen=True)
class RoundRecord:
    """What happened in one round.

    Attributes
    ----------
    server_round : int
        From 1.
    phase : str
        ``"pretrain"``, ``"attack"`` or ``"benign"``.
    arrivals : list of Arrival
        The aggregated updates in the order of arrival.
    dropped : list of Drop
        Clients that do not count, each with its reason.
    evaluation : list of ClientEvaluation, or None if no evaluation took place
        One per client that evaluated, with counts of each of `CURVES`, and, if measured, along steps, such as those of
        `STEP_CURVES`.
    seconds : float
        Wall-clock time of the round; 0 if the file of times is missing.
    key_round : int or None
        Round in which an adversary learnt the key of the evaluation's stamped images; None: they have the run's key.
    """

    server_round: int
    phase: str
    arrivals: list[Arrival] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)
    evaluation: list[ClientEvaluation] | None = None
    seconds: float = 0.0
    key_round: int | None = None

    def accuracies(self) -> dict[str, float] | None:
        """Return hits over trials of each curve, in 0..1, over all clients; None without an evaluation."""
        if not self.evaluation:
            return None
        return {curve: _accuracy([client.counts[curve] for client in self.evaluation]) for curve in CURVES}

    def to_json(self) -> dict[str, Any]:
        """Return the record in a result file, without its time, which is in a separate file."""
        return {
            "server_round": self.server_round,
            "phase": self.phase,
            "arrivals": [arrival.to_json() for arrival in self.arrivals],
            "dropped": [drop.to_json() for drop in self.dropped],
            "evaluation": self.evaluation and [client.to_json() for client in self.evaluation],
            **({} if self.key_round is None else {"key_round": self.key_round}),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any], seconds: float) -> "RoundRecord":
        """Undo `to_json`, given the time of the round, which is in a separate file.

        Raises
        ------
        AttributeError, KeyError, TypeError, ValueError
            If the entry is not the record of a round.
        """
        evaluation = entry.get("evaluation")
        typed = {
            "arrivals": [Arrival.from_json(one) for one in entry.get("arrivals", [])],
            "dropped": [Drop.from_json(one) for one in entry.get("dropped", [])],
            "evaluation": evaluation and [ClientEvaluation.from_json(one) for one in evaluation],
        }
        return cls(**{**entry, **typed, "seconds": seconds})


def step_curves_of(evaluation: Iterable[ClientEvaluation]) -> list[str]:
    """Return the step curves that any client measured, those of `STEP_CURVES` first."""
    found = {name for client in evaluation for name in client.step_curves}
    return [*(name for name in STEP_CURVES if name in found), *sorted(found - set(STEP_CURVES))]


def at_steps(evaluation: Iterable[ClientEvaluation], step_curve: str) -> dict[int, list[ClientEvaluation]]:
    """Return the evaluation at each local step, in the form of `RoundRecord.evaluation`, with ascending steps.

    Parameters
    ----------
    evaluation : iterable of ClientEvaluation
        As in `RoundRecord.evaluation`.
    step_curve : str
        Such as one of `STEP_CURVES`. A step has only the clients that measured it.
    """
    measured = {client.partition_id: client.step_curves.get(step_curve, {}) for client in evaluation}
    steps = sorted({step for points in measured.values() for step in points})
    return {
        step: [
            ClientEvaluation(partition_id, points[step]) for partition_id, points in measured.items() if step in points
        ]
        for step in steps
    }


def _accuracy(counts: list[Counts]) -> float:
    return sum(sum(count.hits) for count in counts) / sum(sum(count.trials) for count in counts)


@dataclass(frozen=True)
class RunResults:
    """The content of a result file.

    Attributes
    ----------
    run : dict
        The first record: ``config``, ``versions``, ``dataset``, ``split``, ``git_revision``.
    rounds : tuple of RoundRecord
        The rounds in order.
    end : dict or None
        The last record (``status``, ``model_digest``, ``seconds``); None if the run has not ended.
    """

    run: dict[str, Any]
    rounds: tuple[RoundRecord, ...]
    end: dict[str, Any] | None

    def evaluated(self) -> list[RoundRecord]:
        """Return the rounds with an evaluation."""
        return [record for record in self.rounds if record.evaluation]

    def at_round(self, server_round: int) -> RoundRecord:
        """Return one round; raises `ResultsError` if the file does not have it."""
        for record in self.rounds:
            if record.server_round == server_round:
                return record
        raise ResultsError(f"expected round {server_round} in the results, found {len(self.rounds)} rounds without it")


def read_results(path: Path) -> RunResults:
    """Read a result file, even while it is being written.

    Parameters
    ----------
    path : Path
        The file, or the folder that holds it.

    Returns
    -------
    RunResults
        The records of all complete lines; an incomplete last line is left out.

    Raises
    ------
    ResultsError
        If there is no such file, it has another format, or a line is not a record; names the file and the line.
    """
    file = path / FILE_NAME if path.is_dir() else path
    records = _read_lines(file)
    if not records or records[0]["kind"] != "run" or records[0].get("format") != FORMAT:
        raise ResultsError(f"{file}: expected a first line of kind 'run' in format {FORMAT}, found another")
    if not isinstance(records[0].get("config"), dict):
        raise ResultsError(f"{file}: expected the settings of the run in its first line, found none")
    seconds, all_seconds = _read_times(file.with_name(TIMES_FILE_NAME))
    rounds = tuple(_round(file, record, seconds) for record in records if record["kind"] == "round")
    end = next((record for record in records if record["kind"] == "end"), None)
    if end is not None:
        end["seconds"] = all_seconds
    return RunResults(run=records[0], rounds=rounds, end=end)


def _read_times(file: Path) -> tuple[dict[int, float], float]:
    """Return the seconds of each round, and of the whole run."""
    if not file.is_file():
        return {}, 0.0
    records = _read_lines(file)
    try:
        rounds = {record["server_round"]: record["seconds"] for record in records if record["kind"] == "round"}
        return rounds, next((record["seconds"] for record in records if record["kind"] == "end"), sum(rounds.values()))
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{file}: expected the seconds of every round, found a line without ({error})") from error


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the records of all complete lines."""
    return [parse_line(file, number, line) for number, line in enumerate(complete_lines(file), start=1)]


def complete_lines(file: Path) -> list[str]:
    """Return the complete lines of a result file; an incomplete last line, which may hold any bytes, is left out.

    Raises
    ------
    ResultsError
        If the file cannot be read or is not text; names the file.
    """
    try:
        content = file.read_bytes()
        return decoded(content[: content.rfind(b"\n") + 1]).split("\n")[:-1]
    except OSError as error:
        raise ResultsError(f"expected a result file, cannot read {file}: {error.strerror}") from error
    except TextError as error:
        raise ResultsError(f"{file}: {error}") from error


def parse_line(file: Path, number: int, line: str) -> dict[str, Any]:
    """Return the record in a line; raises `ResultsError` for anything else."""
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ResultsError(f"{file}, line {number}: expected JSON, found {line[:60]!r}") from error
    if not isinstance(record, dict) or record.get("kind") not in ("run", "round", "end"):
        raise ResultsError(f"{file}, line {number}: expected a record of kind run, round or end, found {line[:60]!r}")
    return record


def _round(file: Path, record: dict[str, Any], seconds: dict[int, float]) -> RoundRecord:
    entry = {name: value for name, value in record.items() if name != "kind"}
    try:
        found = RoundRecord.from_json(entry, seconds.get(record.get("server_round", 0), 0.0))
        found.accuracies()  # checks that hits and trials exist
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        where = f"{file}, round {record.get('server_round', 'unknown')}"
        problem = f"{type(error).__name__}: {error}"
        raise ResultsError(f"{where}: expected the record of a round, found another ({problem})") from error
    return found
