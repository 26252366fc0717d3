"""Check the folders that runs write into, and look for what runs have left behind."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from experiments.doctor.finding import Finding

_MEBIBYTE = 2**20
_LEAST_MEBIBYTES, _FEW_MEBIBYTES = 200, 2048
_TEMPORARY = "fedmeta-????????"  # of a SuperLink
_YOUNG_SECONDS = 60.0


def check_folder(name: str, folder: Path) -> Iterator[Finding]:
    """Check whether a folder, or the one in which it would be made, is writable and has free space."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    advice = "choose another folder, or free some space there"
    try:
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is not a folder")
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(there).free // _MEBIBYTE
    except OSError as error:
        yield Finding(name, "wrong", f"{folder} cannot be written to: {error.strerror or error}", advice)
        return
    found = f"{folder}, {free} MiB free"
    if free < _LEAST_MEBIBYTES:
        yield Finding(name, "wrong", found, advice)
    elif free < _FEW_MEBIBYTES:
        yield Finding(name, "warning", found, "free some space, or choose another folder, before a long run")
    else:
        yield Finding(name, "ok", found)


def check_locks(results_dir: Path) -> Iterator[Finding]:
    """Check which results folders are in use; a lock ends with its process, and the file left behind does no harm."""
    from fedmeta_flwr.records import ResultsError
    from fedmeta_flwr.records.writer import LOCK_FILE_NAME, locked

    folders = sorted(file.parent for file in results_dir.rglob(LOCK_FILE_NAME))
    used = []
    for folder in folders:
        try:
            with locked(folder):
                pass
        except ResultsError:
            used.append(folder)
    if used:
        advice = "a run is going on there: wait for it, or stop it and resume it later with `--resume`"
        yield Finding("locks", "warning", f"in use: {', '.join(map(str, used))}", advice)
    else:
        yield Finding("locks", "ok", f"{len(folders)} folder(s) with results below {results_dir}, none of them in use")


def check_leftovers(temporary: Path | None = None) -> Iterator[Finding]:
    """Look for temporary folders of SuperLinks that no process uses any more."""
    places = {temporary} if temporary else {Path(tempfile.gettempdir()), Path("/tmp")}
    found = sorted(folder for place in places for folder in place.glob(_TEMPORARY) if _is_old(folder))
    commands = _commands() if found else ""
    left = [str(folder) for folder in found if str(folder) not in commands]
    if left:
        advice = f"left by runs that were killed; if no run is going on: rm -r {' '.join(left)}"
        yield Finding("left-overs", "warning", f"{len(left)} temporary folder(s)", advice)
    else:
        yield Finding("left-overs", "ok", "none")


def _is_old(folder: Path) -> bool:
    with suppress(OSError):  # it vanished meanwhile
        return time.time() - folder.stat().st_mtime > _YOUNG_SECONDS
    return False


def _commands() -> str:
    return "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
