"""The commands, from their arguments to the exit code, with all output for the user."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from experiments.analysis.claims.files import claims_record, write_claims
from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.claims.table import claims_renderable
from experiments.analysis.collection import Collection, collect, collect_or_audited, completed
from experiments.analysis.figures.panels import draw_collection
from experiments.analysis.figures.persistence import FIGURE_NAME, draw_persistence
from experiments.analysis.figures.security import draw_security
from experiments.analysis.publish import publish
from experiments.analysis.security import read_audits
from experiments.analysis.table import catalog_table, milestones, missed_attack, results_table
from experiments.audit.errors import AuditFailedError
from experiments.benchmarks.progress import show_turns
from experiments.benchmarks.running import BenchmarkError, benchmark_table, run_benchmark
from experiments.catalog import EXPERIMENTS
from experiments.engines import DEFAULT_ENGINE, INLINE
from experiments.output import Output
from experiments.runner.display import show_progress
from experiments.runner.in_place import require_in_place
from experiments.runner.interruption import Interrupted, interruptible
from experiments.runner.outcome import RunFailedError
from experiments.runner.reproduce import ReproduceRequest, reproduce
from experiments.runner.run import new_results_dir, prepare, run_to_end
from experiments.runner.simulation import SimulationSize, simulation_size
from experiments.runner.superlink import SuperLinkError
from experiments.settings import find_config, load_config
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import ResultsError, RunResults, case_folder, read_results
from fedmeta_flwr.records.results import FILE_NAME
from fedmeta_flwr.records.run_checkpoints import finished

COMPLETED, FAILED, BAD_INPUT = 0, 1, 2
FIGURES = "figures"
_HOW_TO_RESUME = {
    "run": "run with --results-dir and --resume continues from the last checkpoint",
    "quickstart": "run quickstart with --results-dir and --resume continues from the last checkpoint",
    "audit": "audit keeps what is measured",
    "reproduce": "reproduce resumes from the last checkpoint",
}
_WRONG_PATH = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_WRONG_PATH_NUMBERS = (errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A request to run one configuration.

    Attributes
    ----------
    config : str
        Name or path of the configuration.
    overrides : tuple of str
        ``key=value`` each.
    data_dir, results_dir : Path or None
        Override the settings of the same name.
    actors : int or None
        Number of processes that play the clients; None: chosen to fit the machine.
    quiet : bool
        Whether to show no progress.
    app_dir : Path
        Folder of the Flower App.
    ray_address : str or None
        Ray cluster to run on; None: a separate local Ray.
    engine : str
        One of `experiments.engines.ENGINES`.
    resume : bool
        Whether to resume the run in the results folder.
    as_json : bool
        Whether standard output is for one JSON document.
    command : str
        The command, ``"run"`` or ``"quickstart"``.
    """

    config: str
    overrides: tuple[str, ...]
    data_dir: Path | None
    results_dir: Path | None
    actors: int | None
    quiet: bool
    app_dir: Path
    ray_address: str | None = None
    engine: str = DEFAULT_ENGINE
    resume: bool = False
    as_json: bool = False
    command: str = "run"


def run_session(request: RunRequest) -> int:
    """Run one configuration, report on it, and return the exit code."""
    output = Output(request.command, request.as_json)
    return exit_code_of(lambda: _run(request, output), output)


def figures_session(path: Path, *, quiet: bool = False, as_json: bool = False) -> int:
    """Draw the figure of a result file or of its folder, or all figures of a results root; return the exit code."""
    output = Output("figures", as_json)

    def command() -> None:
        if path.is_dir() and not (path / FILE_NAME).exists():
            _draw_root(path, output)
        else:
            folder = path if path.is_dir() else path.parent
            _report(read_results(path), folder, output, is_shown=not quiet)

    return exit_code_of(command, output)


def reproduce_session(request: ReproduceRequest, *, as_json: bool = False) -> int:
    """Run the missing runs of the catalog, draw, judge, and return the exit code."""
    output = Output("reproduce", as_json)

    def command() -> None:
        planned = reproduce(request, output.console)
        output.document["runs"] = [
            {
                "dataset": request.dataset,
                "profile": request.profile,
                "seed": one.config.seed,
                "run": one.run.name,
                "results_dir": str(one.folder),
                "seconds": one.seconds(),
            }
            for one in planned
        ]
        _draw_runs(request.results_root, output)
        _judge_root(request.results_root, output)

    return exit_code_of(command, output)


def claims_session(root: Path, *, quiet: bool = False, as_json: bool = False) -> int:
    """Judge the claims from a results root, and return the exit code."""
    output = Output("claims", as_json)
    return exit_code_of(lambda: _judge_root(root, output, is_shown=not quiet), output)


def publish_session(root: Path, folder: Path, *, as_json: bool = False) -> int:
    """Copy results without paths, draw and judge all published results, and return the exit code."""
    output = Output("publish", as_json)

    def command() -> None:
        _name("Results:", publish(root, folder), output)
        _draw_root(folder, output)
        if completed(folder):
            _judge_root(folder, output, is_shown=False)

    return exit_code_of(command, output)


def report_session(path: Path, output_file: Path | None, data_dir: Path | None, *, as_json: bool = False) -> int:
    """Write the report about a results root or a run, and return the exit code."""
    output = Output("report", as_json)

    def command() -> None:
        from experiments.analysis.report import write_report

        file = write_report(path, output_file, data_dir)
        output.document["report"] = str(file)
        output.console.print(f"Report: {file}", markup=False)

    return exit_code_of(command, output)


def catalog_session(*, as_json: bool = False) -> int:
    """List the catalog, and return the exit code."""
    output = Output("catalog", as_json)

    def command() -> None:
        output.document["experiments"] = [
            {"name": one.name, "text": one.text, "claims": list(one.claims), "runs": list(one.runs)}
            for one in EXPERIMENTS.values()
        ]
        output.show(catalog_table())

    return exit_code_of(command, output)


def benchmark_session(
    name: str,
    repetitions: int | None,
    folder: Path,
    *,
    engine: str | None = None,
    quiet: bool = False,
    as_json: bool = False,
) -> int:
    """Run a benchmark, show its table, save its numbers, and return the exit code."""
    output = Output("bench", as_json)

    def command() -> None:
        with show_turns(Console(stderr=True, highlight=False), quiet=quiet) as show:
            result, file = run_benchmark(name, repetitions, folder, show, engine)
        output.document.update(result, files=[str(file)])
        output.show(benchmark_table(result))
        output.console.print(f"{result['seconds']:.0f} s; numbers: {file}", markup=False)

    return exit_code_of(command, output)


def _draw_runs(root: Path, output: Output) -> None:
    _name("Figures:", _figures_of(collect(root), root), output)


def _draw_root(root: Path, output: Output) -> None:
    """Draw the figures of runs and audits; a root may have no runs if it has an audit."""
    files = _figures_of(collect_or_audited(root), root)
    for (dataset, profile), attacks in read_audits(root).items():
        files += draw_security(attacks, root / FIGURES, f"{dataset}-{profile}-")
    _name("Figures:", files, output)


def _figures_of(collections: list[Collection], root: Path) -> list[Path]:
    return [file for collection in collections for file in draw_collection(collection, root / FIGURES)]


def _judge_root(root: Path, output: Output, *, is_shown: bool = True) -> None:
    judged = [judge_collection(collection) for collection in collect(root)]
    for one in judged if is_shown else ():
        output.show(claims_renderable(one))
    output.document.update(claims_record(judged))
    _name("Claims:", write_claims(judged, root), output)


def _name(heading: str, files: list[Path], output: Output) -> None:
    """List the files that were written."""
    output.document.setdefault("files", []).extend(map(str, files))
    output.console.print(heading, *(f"  {file}" for file in files), sep="\n", markup=False)


def exit_code_of(command: Callable[[], None], output: Output | None = None) -> int:
    """Run a command and return its exit code.

    Bad input is a ValueError of this project, or a path that cannot be used; a failed run is a RuntimeError.
    """
    output = output or Output("")
    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    code, problem = COMPLETED, None
    try:
        with interruptible(), output.kept_clean():
            command()
    except Interrupted as interruption:
        code, problem = interruption.exit_code, str(interruption)
        how_to_resume = _HOW_TO_RESUME.get(output.command)
        errors.print(f"Interrupted: {problem}{f'; {how_to_resume}' if how_to_resume else ''}.")
    except AuditFailedError as error:
        code, problem = FAILED, str(error)
        errors.print(f"Audit failed: {problem}")
    except (RunFailedError, SuperLinkError, BenchmarkError) as error:
        code, problem = FAILED, str(error)
        errors.print(f"Run failed: {problem}")
    except ValueError as error:
        code, problem = BAD_INPUT, str(error)
        errors.print(f"Error: {problem}")
    except BrokenPipeError:  # nobody reads the output any more
        raise
    except OSError as error:
        is_input = isinstance(error, _WRONG_PATH) or error.errno in _WRONG_PATH_NUMBERS
        problem = f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
        code = BAD_INPUT if is_input else FAILED
        errors.print(f"Error: {problem}")
    output.hand_over(code, problem)
    return code


def _run(request: RunRequest, output: Output) -> None:
    config = _load(request)
    output.document["results_dir"] = config.results_dir
    console = output.console
    results = finished(config, Path(config.results_dir)) if config.resume else None
    if results is None:
        if warning := prepare(config):
            console.print(f"Warning: {warning}.", markup=False)
        size, described = _size(request, config)
        console.print(f"{described}; results: {config.results_dir}", markup=False)
        with show_progress(config, console, quiet=request.quiet) as show:
            results = run_to_end(config, size, app_dir=request.app_dir, show=show, engine=request.engine)
    _report(results, Path(config.results_dir), output)


def _size(request: RunRequest, config: RunConfig) -> tuple[SimulationSize, str]:
    """Return a run's share of the machine, also in words; raises `ValueError` if the engine cannot have it."""
    if request.engine == INLINE:
        require_in_place(request.actors, request.ray_address, request.app_dir)
        return SimulationSize(config.num_clients, 1), f"{config.num_clients} clients in this process"
    size = simulation_size(config, request.actors, request.ray_address)
    return size, size.describe()


def _load(request: RunRequest) -> RunConfig:
    folders = {"data-dir": request.data_dir, "results-dir": request.results_dir}
    config = load_config(request.config, request.overrides, folders=folders, app_dir=request.app_dir)
    if request.resume:
        if not config.results_dir:
            raise ResultsError("results-dir: expected the folder of the run to resume (--results-dir), found none")
        return replace(config, resume=True)
    if config.results_dir:
        return config
    folder = new_results_dir(find_config(request.config).stem, Path("results").absolute())
    return RunConfig.parse(config.to_run_config() | {"results-dir": str(folder)})  # which may lie in an odd place


def _report(results: RunResults, folder: Path, output: Output, *, is_shown: bool = True) -> None:
    """Report on a run, case by case if it has several."""
    cases = str(results.run["config"].get("case", ""))
    if len(cases) < 2:
        _report_case(results, folder, output, is_shown)
    for place in (case_folder(folder, case, cases) for case in cases if len(cases) > 1):
        _report_case(read_results(place), place, output, is_shown)


def _report_case(results: RunResults, folder: Path, output: Output, is_shown: bool) -> None:
    files = [folder / FILE_NAME]
    rows = milestones(results) if results.evaluated() else {}
    if rows:
        files += draw_persistence(results, folder / FIGURE_NAME)
    if missed := missed_attack(results):
        output.console.print(missed, markup=False)
    if rows and is_shown:
        output.show(results_table(results))
    elif is_shown:
        output.console.print("No round was evaluated: no table and no figure.")
    output.document.setdefault("table", []).extend(
        {
            "case": results.run["config"].get("case"),
            "name": name,
            "server_round": record.server_round,
            "accuracies": record.accuracies(),
        }
        for name, record in rows.items()
    )
    _name("Files:", files, output)
