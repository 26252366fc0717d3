"""The doctor: checks everything that a run needs, and says what is wrong and how to fix it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.text import Text

from experiments.doctor import data, folders, machine, trial, versions
from experiments.doctor.finding import Finding
from experiments.output import Output
from experiments.runner.interruption import Interrupted, interruptible

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


@dataclass(frozen=True, kw_only=True)
class DoctorRequest:
    """A request to examine this machine.

    Attributes
    ----------
    dataset : str or None
        The data set to check; None: the one in `data_dir`, if any.
    data_dir, cache_dir : Path or None
        As the settings of these names.
    results_dir : Path
        Folder that runs write below.
    runs : bool
        Whether to run two rounds.
    app_dir : Path
        Folder of the Flower App.
    """

    dataset: str | None
    data_dir: Path | None
    cache_dir: Path | None
    results_dir: Path
    runs: bool
    app_dir: Path


def doctor_session(request: DoctorRequest, *, as_json: bool) -> int:
    """Examine everything, print the findings, and return the exit code: 0 if nothing is wrong, else 1."""
    output = Output("doctor", as_json)
    findings: list[Finding] = []
    problem = None
    try:
        with interruptible(), output.kept_clean():
            for finding in examine(request):
                findings.append(finding)
                output.console.print(_line(finding))
    except Interrupted as interruption:
        code, problem = interruption.exit_code, str(interruption)
    else:
        wrong = sum(finding.verdict == "wrong" for finding in findings)
        code, problem = (1, f"{wrong} of {len(findings)} checks found something wrong") if wrong else (0, None)
        output.console.print(problem or "Nothing is wrong.")
    output.document["findings"] = [asdict(finding) for finding in findings]
    output.hand_over(code, problem)
    return code


def examine(request: DoctorRequest) -> Iterator[Finding]:
    """Make all checks, one after the other; a check that cannot be made counts as wrong."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "packages": partial(versions.check_versions, request.app_dir),
        "learn2learn": versions.check_learn2learn,
        "cores": machine.check_cores,
        "memory": machine.check_memory,
        "shared memory": machine.check_shared_memory,
        "GPUs": machine.check_gpus,
        "ports": machine.check_loopback,
        "default ports": machine.check_default_ports,
        "results folder": partial(folders.check_folder, "results folder", request.results_dir),
        "cache folder": lambda: folders.check_folder("cache folder", request.cache_dir or _default_cache_dir()),
        "locks": partial(folders.check_locks, request.results_dir),
        "left-overs": folders.check_leftovers,
    }
    if request.dataset or request.data_dir:
        checks["data"] = partial(data.check_data, request.dataset, request.data_dir, request.cache_dir, request.app_dir)
    if request.runs:
        checks["run"] = partial(trial.check_run, request.app_dir)
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # such as a package that does not import; the other checks are still useful
            yield Finding(name, "wrong", f"{type(error).__name__}: {error}", "fix what is wrong above first")


def _default_cache_dir() -> Path:
    from fedmeta_flwr.data import default_cache_dir

    return default_cache_dir()


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.verdict:<9}", _STYLES[finding.verdict]), f"{finding.name:<16}", finding.found)
    if finding.advice:
        line.append(f"\n{'':<9}{'':<16}-> {finding.advice}")
    return line
