"""Publish results: copy the result files of completed runs and of audits, without the paths of the machine.

`figures`, `claims` and `report` read the copies from any folder.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.analysis.audit_files import audit_files, read_measured
from experiments.analysis.collection import Collection, collect_or_audited, completed, require_same_settings
from experiments.analysis.redaction import record_without_folders
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.plain_text import decoded
from fedmeta_flwr.records import TIMES_FILE_NAME, ResultsError, parse_line, write_whole
from fedmeta_flwr.records.results import FILE_NAME


def publish(root: Path, folder: Path) -> list[Path]:
    """Copy the result files of a results root's completed runs and its audits, as compact lines and without paths.

    Settings that are paths (`RunConfig.paths`) become empty, and paths in the reasons of failures are cut to their last
    part (`experiments.analysis.redaction`). The result file still has the fingerprint of the images and the digest of
    the model that a run started from. An image file as ``backdoor-key`` keeps its name, because it affects the results.

    Parameters
    ----------
    root : Path
        As for `collect`.
    folder : Path
        Another results root, made if it is missing; runs that are in it stay.

    Returns
    -------
    list of Path
        The files. Publishing again gives the same bytes.

    Raises
    ------
    ResultsError
        As `collect` raises it for either folder; or if `folder` holds other results of one of the runs, or seeds of it
        with other settings. Then nothing is written. Also if a file cannot be written.
    """
    texts: dict[Path, str] = {}
    audits, collections = audit_files(root), collect_or_audited(root)
    for collection in collections:
        for run, results in collection.runs.items():
            for seed in results:
                place = Path(collection.dataset, collection.profile, f"seed-{seed}", run)
                for name in (FILE_NAME, TIMES_FILE_NAME):
                    if (file := root / place / name).is_file():  # the times may have been left out
                        texts[folder / place / name] = _text(file)
    texts |= {folder / file.relative_to(root): _text_of_audit(file) for file in audits}
    others = [file for file, text in texts.items() if file.name != TIMES_FILE_NAME and _is_other(file, text)]
    if others:
        raise ResultsError(
            f"{others[0]}: expected no other results of this {_kind(others[0])}, found some; remove them, or publish "
            "elsewhere"
        )
    _require_fitting(collections, folder)
    try:
        for file, text in texts.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, text)
    except OSError as error:
        raise ResultsError(f"cannot write {error.filename}: {error.strerror}") from error
    return list(texts)


def _require_fitting(collections: Iterable[Collection], folder: Path) -> None:
    """Raise if new seeds of a run would differ in settings from the published ones."""
    there = {(found.dataset, found.profile): found.runs for found in completed(folder)}
    for collection in collections:
        published = there.get((collection.dataset, collection.profile), {})
        for run in sorted(published.keys() & collection.runs.keys()):
            results = {**published[run], **collection.runs[run]}
            places = {seed: Path(collection.dataset, collection.profile, f"seed-{seed}", run) for seed in results}
            require_same_settings({seed: folder / place for seed, place in places.items()}, results)


def _text(file: Path) -> str:
    lines = decoded(file.read_bytes()).split("\n")[:-1]
    records = [parse_line(file, number, line) for number, line in enumerate(lines, start=1)]
    config = records[0].get("config", {}) if records else {}
    known = (str(file.parent), *(str(config.get(key, "")) for key in RunConfig.paths()))
    return "".join(
        json.dumps(_without_paths(record, known), allow_nan=False, separators=(",", ":")) + "\n" for record in records
    )


def _text_of_audit(file: Path) -> str:
    """Return the same content as a compact line; files of an audit hold no paths."""
    return json.dumps(read_measured(file).to_json(), allow_nan=False, separators=(",", ":")) + "\n"


def _kind(file: Path) -> str:
    return "run" if file.name == FILE_NAME else "audit"


def _without_paths(record: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    if record["kind"] != "run":
        return record_without_folders(record, *known)
    return record | {
        "config": {key: "" if key in RunConfig.paths() else value for key, value in record["config"].items()}
    }


def _is_other(file: Path, text: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") != text
