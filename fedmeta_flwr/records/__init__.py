"""The files of a run: records of its rounds, models, checkpoints and event files."""

from fedmeta_flwr.records.atomic_file import atomic_file, flush_folder, write_whole
from fedmeta_flwr.records.cases import case_folder, recorded_curves, recorded_name, write_cases
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import TRAIN_LOSS, Arrival, ClientEvaluation, Counts, CurveCounts
from fedmeta_flwr.records.failure import Failure, early_failure_recorded, failure_recorded, read_failure, remove_failure
from fedmeta_flwr.records.machine import describe_machine
from fedmeta_flwr.records.persistence import COLORS, LABELS, Persistence, persistence_of
from fedmeta_flwr.records.progress import Observer, Progress, ProgressFile, Stage, read_progress, remove_progress
from fedmeta_flwr.records.results import (
    CLIENTS_FOLDER,
    CURVES,
    STEP_CURVES,
    TIMES_FILE_NAME,
    ResultsError,
    RoundRecord,
    RunResults,
    at_steps,
    parse_line,
    read_results,
    run_folder,
    step_curves_of,
)

__all__ = [
    "CLIENTS_FOLDER",
    "COLORS",
    "CURVES",
    "LABELS",
    "STEP_CURVES",
    "TIMES_FILE_NAME",
    "TRAIN_LOSS",
    "Arrival",
    "ClientEvaluation",
    "Counts",
    "CurveCounts",
    "Drop",
    "DropReason",
    "Failure",
    "Observer",
    "Persistence",
    "Progress",
    "ProgressFile",
    "ResultsError",
    "RoundRecord",
    "RunResults",
    "Stage",
    "at_steps",
    "atomic_file",
    "case_folder",
    "describe_machine",
    "early_failure_recorded",
    "failure_recorded",
    "flush_folder",
    "parse_line",
    "persistence_of",
    "read_failure",
    "read_progress",
    "read_results",
    "recorded_curves",
    "recorded_name",
    "remove_failure",
    "remove_progress",
    "run_folder",
    "step_curves_of",
    "write_cases",
    "write_whole",
]
