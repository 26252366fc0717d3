"""Why a run failed, in words for its user."""

from pathlib import Path

from rich.text import Text

from experiments.runner.engine import RunStatus
from fedmeta_flwr.protocol.flower_private import SIMULATION_FAILED
from fedmeta_flwr.records import Failure
from fedmeta_flwr.records.run_checkpoints import FOLDER_NAME

_LOG_LINES = 30


class RunFailedError(RuntimeError):
    """A run did not complete; the message says why, in the app's words."""


def run_failed(folder: Path, reason: str) -> RunFailedError:
    """Return the error of a run; it says so if the run can be resumed."""
    hint = "\nIt can be resumed from its last checkpoint: run with --resume."
    return RunFailedError(reason + hint * (folder / FOLDER_NAME).is_dir())


def failure_reason(status: RunStatus, failure: Failure | None, log: str) -> str:
    """Return why a run failed: in the server's words, or, without any, in Flower's, with the end of the log."""
    if failure is not None:
        return "\n".join([f"{status.status}: {failure.message}", *failure.traceback])
    reason = ": ".join(filter(None, (status.status, status.details.removeprefix(SIMULATION_FAILED))))
    lines = Text.from_ansi(log).plain.strip("\n").splitlines()
    return "\n".join([reason, *lines[-_LOG_LINES:]])
