"""The command line: ``python -m experiments``."""

from pathlib import Path
from typing import Annotated

import typer
from click import Choice

from experiments.benchmark import BENCHMARKS
from experiments.catalog import DATASETS, EXPERIMENTS, PROFILES
from experiments.settings import APP_DIR

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Reproduce *Backdoor Attacks on Federated Meta-Learning*.",
)

_RUN_EXAMPLES = """Examples:

- `python -m experiments run quickstart -c seed=1 -c num-server-rounds=80`

- `python -m experiments run omniglot-case-a --data-dir ~/omniglot --actors 4`

- `python -m experiments run my-config.toml --results-dir results/mine`

- `python -m experiments run my-config.toml --results-dir results/mine --resume`
"""

_REPRODUCE_EXAMPLES = """Examples:

- `python -m experiments reproduce`

- `python -m experiments reproduce persistence fine-tuning --dataset omniglot --profile full --seeds 5 --data-dir DIR`

- `python -m experiments reproduce rescue --first-seed 100 --results-dir results/trial`
"""

Overrides = Annotated[
    list[str] | None,
    typer.Option("-c", "--set", metavar="KEY=VALUE", help="Override a setting; the value is TOML or plain text."),
]
DataDir = Annotated[Path | None, typer.Option(help="Folder with the dataset's files (setting data-dir).")]
ResultsDir = Annotated[
    Path | None, typer.Option(help="Folder for the results. [default: results/NAME-DATE-TIME]", show_default=False)
]
Actors = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that play the clients. [default: 1.5 per core]", show_default=False),
]
RayAddress = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Run on this Ray cluster, an actor for each of its cores.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the results folder, from its newest checkpoint.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AppDir = Annotated[Path, typer.Option("--app", help="Folder of the Flower App.", hidden=True)]


def _complete_config(incomplete: str) -> list[str]:
    from experiments.settings import CONFIGS_DIR

    return sorted(path.stem for path in CONFIGS_DIR.glob(f"{incomplete}*.toml"))


def _complete_name(incomplete: str) -> list[str]:
    return [name for name in EXPERIMENTS if name.startswith(incomplete)]


@app.command(epilog=_RUN_EXAMPLES)
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", autocompletion=_complete_config)],
    *,
    overrides: Overrides = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
    actors: Actors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
    ray_address: RayAddress = None,
    resume: Resume = False,
) -> None:
    """Run one configuration to its end; print its table and draw its figure.

    CONFIG is a name in experiments/configs or the path of a TOML file with settings, which stand above the defaults
    in pyproject.toml; options stand above both.

    Ends with 0 when the run completed, 1 when it failed, 2 for a mistake in the configuration or the data,
    130 on Ctrl-C and 143 when terminated.
    """
    from experiments.session import RunRequest, run_session

    request = RunRequest(
        config=config,
        overrides=tuple(overrides or ()),
        data_dir=data_dir,
        results_dir=results_dir,
        actors=actors,
        quiet=quiet,
        app_dir=app_dir,
        ray_address=ray_address,
        resume=resume,
    )
    raise typer.Exit(run_session(request))


@app.command(epilog="Example: `python -m experiments quickstart`")
def quickstart(
    *,
    overrides: Overrides = None,
    results_dir: ResultsDir = None,
    actors: Actors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
) -> None:
    """Run the main experiment on the embedded data, which needs no download."""
    run("quickstart", overrides=overrides, results_dir=results_dir, actors=actors, quiet=quiet, app_dir=app_dir)


@app.command(epilog=_REPRODUCE_EXAMPLES)
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMES]", autocompletion=_complete_name)] = None,
    *,
    dataset: Annotated[str, typer.Option(click_type=Choice(DATASETS), help="Which images.")] = "strokes",
    profile: Annotated[str, typer.Option(click_type=Choice(PROFILES), help="How much is run.")] = "quick",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 2,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them; the others follow it.")] = 0,
    results_dir: Annotated[Path, typer.Option(help="Results root.")] = Path("results/reproduction"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    actors: Actors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
) -> None:
    """Run what is missing of the catalog's experiments, draw their figures, and judge the poster's claims.

    NAMES are experiments (see `catalog`); none: all of them. What is finished is skipped: stop it at any time, and
    start it again.
    """
    from experiments.reproduce import ReproduceRequest
    from experiments.session import reproduce_session

    request = ReproduceRequest(
        names=tuple(names or ()),
        dataset=dataset,
        profile=profile,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        results_root=results_dir,
        data_dir=data_dir,
        overrides=tuple(overrides or ()),
        actors=actors,
        quiet=quiet,
        app_dir=app_dir,
    )
    raise typer.Exit(reproduce_session(request))


@app.command()
def catalog() -> None:
    """List the experiments of the catalog: figure, claims, runs."""
    from rich.console import Console

    from experiments.table import catalog_table

    Console().print(catalog_table())


@app.command(epilog="Example: `python -m experiments figures results/quickstart-20250101-120000`")
def figures(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
) -> None:
    """Draw figures again, from result files alone.

    PATH is a results root (all figures of the poster, into its folder `figures`), or a result file or its folder (the
    table and the figure of one run, put beside the file).
    """
    from experiments.session import figures_session

    raise typer.Exit(figures_session(path))


@app.command(epilog="Example: `python -m experiments claims results/reproduction`")
def claims(
    path: Annotated[Path, typer.Argument(metavar="ROOT")],
) -> None:
    """Judge the poster's claims P1 to P8 by the result files of a results root: text, JSON and Markdown."""
    from experiments.session import claims_session

    raise typer.Exit(claims_session(path))


@app.command(epilog="Example: `python -m experiments report results/reproduction --output report.html`")
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    *,
    output: Annotated[
        Path | None, typer.Option(help="The HTML file. [default: PATH/report.html]", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a page about results: claims, figures, the federation, pictures, episodes, features, settings.

    PATH is a results root, or a run's folder or result file. The page is one HTML file, which needs no network.
    """
    from experiments.session import report_session

    raise typer.Exit(report_session(path, output, data_dir))


@app.command(epilog="Example: `python -m experiments bench update`")
def bench(
    name: Annotated[str, typer.Argument(click_type=Choice(tuple(BENCHMARKS)))],
    *,
    repetitions: Annotated[
        int | None, typer.Option(min=1, help="Timed turns of each contender. [default: the benchmark's own]")
    ] = None,
    results_dir: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("results/benchmarks"),
) -> None:
    """Measure speed, as a ratio to something measured in the same run: a table, and all numbers as JSON.

    Leave the machine alone meanwhile.
    """
    from experiments.session import benchmark_session

    raise typer.Exit(benchmark_session(name, repetitions, results_dir))


if __name__ == "__main__":
    app(prog_name="python -m experiments")
