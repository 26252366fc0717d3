"""What a command does from its arguments to its exit code, with everything that it tells the user."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from experiments.benchmark import BenchmarkError, benchmark_table, run_benchmark
from experiments.claims_files import write_claims
from experiments.claims_judging import judge_collection
from experiments.claims_table import claims_renderable
from experiments.collection import collect
from experiments.figures import FIGURE_NAME, draw_persistence
from experiments.interruption import Interrupted, interruptible
from experiments.panels import draw_collection
from experiments.progress import show_progress
from experiments.reproduce import ReproduceRequest, reproduce
from experiments.run import RunFailedError, new_results_dir, prepare, run_to_end
from experiments.settings import find_config, load_config
from experiments.simulation import simulation_size
from experiments.superlink import SuperLinkError
from experiments.table import results_table
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.results import FILE_NAME, ResultsError, RunResults, read_results
from fedmeta_flwr.run_checkpoints import finished

COMPLETED, FAILED, BAD_INPUT = 0, 1, 2
FIGURES = "figures"


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the command line asks for.

    Attributes
    ----------
    config : str
        Name or path of the configuration.
    overrides : tuple of str
        ``key=value`` each.
    data_dir, results_dir : Path or None
        Above the settings of the same name.
    actors : int or None
        Processes that play the clients; None: as many as fit.
    quiet : bool
        Whether to show no progress.
    app_dir : Path
        Folder of the Flower App.
    ray_address : str or None
        Ray cluster to run on; None: a Ray of one's own.
    resume : bool
        Whether to go on with the run in the results folder.
    """

    config: str
    overrides: tuple[str, ...]
    data_dir: Path | None
    results_dir: Path | None
    actors: int | None
    quiet: bool
    app_dir: Path
    ray_address: str | None = None
    resume: bool = False


def run_session(request: RunRequest) -> int:
    """Run one configuration, report on it, and return the exit code."""
    return _exit_code(lambda: _run(request))


def figures_session(path: Path) -> int:
    """Draw the figure of a result file or of its folder, or all figures of a results root; return the exit code."""
    if path.is_dir() and not (path / FILE_NAME).exists():
        return _exit_code(lambda: _draw_root(path, Console()))
    return _exit_code(lambda: _report(read_results(path), path if path.is_dir() else path.parent, Console()))


def reproduce_session(request: ReproduceRequest) -> int:
    """Run what is missing of the catalog, draw, judge, and return the exit code."""

    def command() -> None:
        console = Console(highlight=False, soft_wrap=True)
        reproduce(request, console)
        _draw_root(request.results_root, console)
        _judge_root(request.results_root, console)

    return _exit_code(command)


def claims_session(root: Path) -> int:
    """Judge the claims by a results root, and return the exit code."""
    return _exit_code(lambda: _judge_root(root, Console()))


def report_session(path: Path, output: Path | None, data_dir: Path | None) -> int:
    """Write the report about a results root or a run, and return the exit code."""

    def command() -> None:
        from experiments.report import write_report

        Console(highlight=False, soft_wrap=True).print(f"Report: {write_report(path, output, data_dir)}", markup=False)

    return _exit_code(command)


def benchmark_session(name: str, repetitions: int | None, folder: Path) -> int:
    """Run a benchmark, show its table, keep its numbers, and return the exit code."""

    def command() -> None:
        result, file = run_benchmark(name, repetitions, folder)
        console = Console(highlight=False)
        console.print(benchmark_table(result))
        console.print(f"{result['seconds']:.0f} s; numbers: {file}", markup=False, soft_wrap=True)

    return _exit_code(command)


def _draw_root(root: Path, console: Console) -> None:
    files = [file for collection in collect(root) for file in draw_collection(collection, root / FIGURES)]
    console.print("Figures:", *(f"  {file}" for file in files), sep="\n", markup=False)


def _judge_root(root: Path, console: Console) -> None:
    judged = [judge_collection(collection) for collection in collect(root)]
    for one in judged:
        console.print(claims_renderable(one))
    console.print("Claims:", *(f"  {file}" for file in write_claims(judged, root)), sep="\n", markup=False)


def _exit_code(command: Callable[[], None]) -> int:
    """Bad input is a ValueError of this project, before anything starts; a run that fails is a RuntimeError."""
    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    try:
        with interruptible():
            command()
    except Interrupted as interruption:
        errors.print(f"Interrupted: {interruption}; run --resume, or reproduce, goes on from the last checkpoint.")
        return interruption.exit_code
    except (RunFailedError, SuperLinkError, BenchmarkError) as error:
        errors.print(f"Run failed: {error}")
        return FAILED
    except ValueError as error:
        errors.print(f"Error: {error}")
        return BAD_INPUT
    return COMPLETED


def _run(request: RunRequest) -> None:
    config = _load(request)
    console = Console(highlight=False, soft_wrap=True)
    results = finished(config, Path(config.results_dir)) if config.resume else None
    if results is None:
        prepare(config)
        size = simulation_size(config, request.actors, request.ray_address)
        console.print(f"{size.describe()}; results: {config.results_dir}", markup=False)
        with show_progress(config, console, quiet=request.quiet) as show:
            results = run_to_end(config, size, app_dir=request.app_dir, show=show)
    _report(results, Path(config.results_dir), console)


def _load(request: RunRequest) -> RunConfig:
    folders = {"data-dir": request.data_dir, "results-dir": request.results_dir}
    config = load_config(request.config, request.overrides, folders=folders, app_dir=request.app_dir)
    if request.resume:
        if not config.results_dir:
            raise ResultsError("results-dir: expected the folder of the run to go on with (--results-dir), found none")
        return replace(config, resume=True)
    if config.results_dir:
        return config
    folder = new_results_dir(find_config(request.config).stem, Path("results").absolute())
    return replace(config, results_dir=str(folder))


def _report(results: RunResults, folder: Path, console: Console) -> None:
    files = [folder / FILE_NAME]
    if results.evaluated():
        console.print(results_table(results))
        files += draw_persistence(results, folder / FIGURE_NAME)
    else:
        console.print("No round was evaluated: no table and no figure.")
    console.print("Files:", *(f"  {file}" for file in files), sep="\n", markup=False)
