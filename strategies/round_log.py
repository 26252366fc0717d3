"""The log lines of a run, in the same words as those of Flower's loop of rounds."""

import io
import logging
from collections.abc import Mapping

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import Result

_LOG = logging.getLogger("flwr")


def log_start(
    name: str, num_rounds: int, arrays: ArrayRecord, train_config: ConfigRecord, evaluate_config: ConfigRecord
) -> None:
    """Log the strategy that starts, and its arguments."""
    _LOG.info("Starting %s strategy:", name)
    _LOG.info("\t├── Number of rounds: %d", num_rounds)
    _LOG.info("\t├── ArrayRecord (%.2f MB)", sum(len(array.data) for array in arrays.values()) / 1024**2)
    _LOG.info("\t├── ConfigRecord (train): %s", _shown(train_config))
    _LOG.info("\t├── ConfigRecord (evaluate): %s", _shown(evaluate_config))


def log_blank() -> None:
    """Log an empty line."""
    _LOG.info("")


def log_round(number: int, num_rounds: int) -> None:
    """Log that a round begins."""
    _LOG.info("")
    _LOG.info("[ROUND %s/%s]", number, num_rounds)


def log_metrics(metrics: MetricRecord) -> None:
    """Log the aggregated metrics of clients."""
    _LOG.info("\t└──> Aggregated MetricRecord: %s", metrics)


def log_server_evaluation(number: int, metrics: MetricRecord | None) -> None:
    """Log an evaluation on the server; number 0 is before the first round."""
    if number:
        _LOG.info("Global evaluation")
        _LOG.info("\t└──> MetricRecord: %s", metrics)
    else:
        _LOG.info("Initial global evaluation results: %s", metrics)


def log_result(result: Result, seconds: float) -> None:
    """Log the result of all rounds."""
    for line in ("", f"Strategy execution finished in {seconds:.2f}s", "", "Final results:", ""):
        _LOG.info(line)
    for line in io.StringIO(str(result)):
        _LOG.info("\t%s", line.strip("\n"))
    _LOG.info("")


def _shown(config: Mapping[str, object]) -> str:
    if not config:
        return "(empty!)"
    content = ", ".join(
        f"'{name}': {'<bytes>' if isinstance(value, bytes) else value}" for name, value in config.items()
    )
    return f"{{{content}}}"
