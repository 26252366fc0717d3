"""The cases in which a run is evaluated, and the results of each.

The clients of cases (b) and (c) train alike, so a run of case ``bc`` trains once, and evaluates in both. Its records
have the curves of the first case by their usual names; of the other case, they have those that differ, with the case
after their names. When the run has ended, each case gets a folder with the files that a run of only this case would
have.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedmeta_flwr.records.atomic_file import write_whole
from fedmeta_flwr.records.results import (
    CLIENTS_FOLDER,
    CURVES,
    FILE_NAME,
    TIMES_FILE_NAME,
    ResultsError,
    RoundRecord,
    complete_lines,
    parse_line,
)

_COMMON = "meta_testing"  # its classes have nothing to do with the attack


def recorded_name(curve: str, case: str, cases: str) -> str:
    """Return the name by which a run of some cases records a curve of `results.CURVES` in one of them."""
    return curve if case == cases[0] or curve == _COMMON else f"{curve}_{case}"


def recorded_curves(cases: str) -> tuple[str, ...]:
    """Return the names of all curves that a run of some cases records."""
    return tuple(dict.fromkeys(recorded_name(curve, case, cases) for case in cases for curve in CURVES))


def case_folder(folder: Path, case: str, cases: str) -> Path:
    """Return the folder of a case in a run's folder: the run's folder itself, if it has only this case."""
    return folder if case == cases else folder / f"case-{case}"


def record_in(record: RoundRecord, case: str, cases: str) -> RoundRecord:
    """Return the record of a round in one of the run's cases."""
    if case == cases:
        return record
    return RoundRecord.from_json(_round_in(record.to_json(), case, cases), record.seconds / len(cases))


def write_cases(folder: Path, cases: str) -> None:
    """Write the files of each case of a run that has ended; a run of one case has them already.

    They are those of a run of only this case, except that the first record has ``cases``, and that each case gets an
    equal share of the times, so that times can be added.

    Parameters
    ----------
    folder : Path
        The run's folder.
    cases : str
        Its cases, such as ``"bc"``.

    Raises
    ------
    ResultsError
        If a file cannot be read or written; then it can be called again.
    CheckpointError
        If a model cannot.
    """
    for case in cases if len(cases) > 1 else ():
        place = case_folder(folder, case, cases)
        try:
            place.mkdir(exist_ok=True)
            if (folder / CLIENTS_FOLDER).is_dir():
                shutil.copytree(folder / CLIENTS_FOLDER, place / CLIENTS_FOLDER, dirs_exist_ok=True)
            _write_models(folder, place, case)
            for name in (TIMES_FILE_NAME, FILE_NAME):  # the result file last: where it is, all is there
                write_whole(place / name, _text_in(folder / name, case, cases))
        except OSError as error:
            raise ResultsError(f"results-dir: cannot write {place}: {error.strerror}") from error


def _write_models(folder: Path, place: Path, case: str) -> None:
    from fedmeta_flwr.records.checkpoint import SUFFIX, load_checkpoint, save_checkpoint  # NumPy: not for --help

    for file in folder.glob(f"*{SUFFIX}"):
        model = load_checkpoint(file)
        config = json.dumps({**json.loads(model.metadata["config"]), "case": case})
        save_checkpoint(place / file.name, model.arrays, {**model.metadata, "config": config})


def _text_in(file: Path, case: str, cases: str) -> str:
    """Return the content of a result file, or of a file of times, in one of the run's cases."""
    records = (parse_line(file, number, line) for number, line in enumerate(complete_lines(file), start=1))
    return "".join(json.dumps(_line_in(record, case, cases), allow_nan=False) + "\n" for record in records)


def _line_in(record: dict[str, Any], case: str, cases: str) -> dict[str, Any]:
    if "seconds" in record:
        return {**record, "seconds": record["seconds"] / len(cases)}
    if record["kind"] == "run":
        return {**record, "config": {**record["config"], "case": case}, "cases": cases}
    return _round_in(record, case, cases) if record["kind"] == "round" else record


def _round_in(entry: dict[str, Any], case: str, cases: str) -> dict[str, Any]:
    evaluation = entry["evaluation"]
    return {**entry, "evaluation": evaluation and [_client_in(client, case, cases) for client in evaluation]}


def _client_in(entry: dict[str, Any], case: str, cases: str) -> dict[str, Any]:
    changed: dict[str, Any] = {"counts": _counts_in(entry["counts"], case, cases)}
    if "step_curves" in entry:
        changed["step_curves"] = {
            name: {step: _counts_in(counts, case, cases) for step, counts in steps.items()}
            for name, steps in entry["step_curves"].items()
        }
    return {**entry, **changed}


def _counts_in(counts: Mapping[str, Any], case: str, cases: str) -> dict[str, Any]:
    return {curve: counts[recorded_name(curve, case, cases)] for curve in CURVES}
