"""The command line: ``python -m experiments``."""

from pathlib import Path
from typing import Annotated

import typer
from click import Choice

from experiments.benchmarks.running import BENCHMARKS
from experiments.catalog import DATASETS
from experiments.cli.audit import audit
from experiments.cli.completion import complete_config, complete_experiment
from experiments.cli.options import (
    EXIT_CODES,
    Actors,
    AppDir,
    AsJson,
    DataDir,
    Dataset,
    Engine,
    FilesOnly,
    FirstSeed,
    FlowerActors,
    Overrides,
    Profile,
    Quiet,
    RayAddress,
    RayCluster,
    ResultsDir,
    Resume,
    Seeds,
    epilog,
)
from experiments.engines import DEFAULT_ENGINE, ENGINES, FLOWER, INLINE
from experiments.settings import APP_DIR

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Reproduce *Backdoor Attacks on Federated Meta-Learning*.",
    epilog=EXIT_CODES,
)


@app.command(
    epilog=epilog(
        "run quickstart -c seed=1 -c num-server-rounds=80",
        "run omniglot-case-a --data-dir ~/omniglot --actors 4",
        "run my-config.toml --results-dir results/mine --resume",
        "run my-config.toml --engine inline --quiet",
        "run my-config.toml --json > run.json",
    )
)
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", autocompletion=complete_config)],
    *,
    overrides: Overrides = None,
    data_dir: DataDir = None,
    results_dir: ResultsDir = None,
    actors: Actors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
    ray_address: RayAddress = None,
    engine: Engine = DEFAULT_ENGINE,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Run one configuration to its end; print its table and draw its figure.

    CONFIG is a name in experiments/configs or the path of a TOML file. Its settings override the defaults in
    pyproject.toml, and options override both.
    """
    from experiments.cli.session import RunRequest, run_session

    request = RunRequest(
        config=config,
        overrides=tuple(overrides or ()),
        data_dir=data_dir,
        results_dir=results_dir,
        actors=actors,
        quiet=quiet,
        app_dir=app_dir,
        ray_address=ray_address,
        engine=engine,
        resume=resume,
        as_json=as_json,
    )
    raise typer.Exit(run_session(request))


@app.command(epilog=epilog("quickstart", "quickstart -c seed=100 --results-dir results/first --json"))
def quickstart(
    *,
    overrides: Overrides = None,
    results_dir: ResultsDir = None,
    actors: Actors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
    engine: Engine = DEFAULT_ENGINE,
    as_json: AsJson = False,
) -> None:
    """Run the main experiment on the embedded data, which needs no download."""
    from experiments.cli.session import RunRequest, run_session

    request = RunRequest(
        command="quickstart",
        config="quickstart",
        overrides=tuple(overrides or ()),
        data_dir=None,
        results_dir=results_dir,
        actors=actors,
        quiet=quiet,
        app_dir=app_dir,
        engine=engine,
        as_json=as_json,
    )
    raise typer.Exit(run_session(request))


@app.command(
    epilog=epilog(
        "reproduce",
        "reproduce persistence fine-tuning --dataset omniglot --profile full --seeds 5 --data-dir DIR",
        "reproduce --dataset omniglot --profile full --seeds 20 --data-dir DIR --ray-address HEAD:PORT",
        "reproduce rescue --first-seed 100 --results-dir results/trial --json > verdicts.json",
    )
)
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMES]", autocompletion=complete_experiment)] = None,
    *,
    dataset: Dataset = "strokes",
    profile: Profile = "quick",
    seeds: Seeds = 2,
    first_seed: FirstSeed = 0,
    results_dir: Annotated[Path, typer.Option(help="Results root.")] = Path("results/reproduction"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once. [default: one for each core]", show_default=False)
    ] = None,
    ray_address: RayCluster = None,
    engine: Annotated[
        str,
        typer.Option(
            click_type=Choice((INLINE, FLOWER)),
            help="inline: runs side by side, each in one process; flower: one after the other, as Flower simulations.",
        ),
    ] = INLINE,
    actors: FlowerActors = None,
    quiet: Quiet = False,
    app_dir: AppDir = APP_DIR,
    as_json: AsJson = False,
) -> None:
    """Run the missing runs of the catalog's experiments, draw their figures, and judge the poster's claims.

    NAMES are experiments (see `catalog`); none: all of them. Finished runs are skipped: you can stop the command at any
    time and start it again.
    """
    from experiments.cli.session import reproduce_session
    from experiments.runner.reproduce import ReproduceRequest

    request = ReproduceRequest(
        names=tuple(names or ()),
        dataset=dataset,
        profile=profile,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        results_root=results_dir,
        data_dir=data_dir,
        overrides=tuple(overrides or ()),
        engine=engine,
        jobs=jobs,
        ray_address=ray_address,
        actors=actors,
        quiet=quiet,
        app_dir=app_dir,
    )
    raise typer.Exit(reproduce_session(request, as_json=as_json))


app.command(
    epilog=epilog("audit", "audit norm-bound-1 neurotoxin --seeds 3", 'audit --curves "matching head" --jobs 2 --json')
)(audit)


@app.command(epilog=epilog("catalog", "catalog --json"))
def catalog(*, as_json: AsJson = False) -> None:
    """List the experiments of the catalog: figure, claims, runs."""
    from experiments.cli.session import catalog_session

    raise typer.Exit(catalog_session(as_json=as_json))


@app.command(epilog=epilog("figures results/quickstart-20250101-120000", "figures results/reproduction --json"))
def figures(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    *,
    quiet: FilesOnly = False,
    as_json: AsJson = False,
) -> None:
    """Draw figures again, only from result files.

    PATH is a results root (all figures of the poster, in its folder `figures`), or a result file or its folder (the
    table and the figure of one run, next to the file).
    """
    from experiments.cli.session import figures_session

    raise typer.Exit(figures_session(path, quiet=quiet, as_json=as_json))


@app.command(epilog=epilog("claims results/reproduction", "claims results/reproduction --json"))
def claims(
    path: Annotated[Path, typer.Argument(metavar="ROOT")],
    *,
    quiet: FilesOnly = False,
    as_json: AsJson = False,
) -> None:
    """Judge the poster's claims P1 to P8 from the result files of a results root: text, JSON and Markdown."""
    from experiments.cli.session import claims_session

    raise typer.Exit(claims_session(path, quiet=quiet, as_json=as_json))


@app.command(epilog=epilog("publish results/reproduction docs/results"))
def publish(
    path: Annotated[Path, typer.Argument(metavar="ROOT")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy the results of completed runs for others, without paths and models; draw and judge all results there.

    FOLDER is a results root, too: `figures`, `claims` and `report` read it. Results that it already holds stay, and are
    drawn and judged as well.
    """
    from experiments.cli.session import publish_session

    raise typer.Exit(publish_session(path, folder, as_json=as_json))


@app.command(epilog=epilog("report results/reproduction", "report results/reproduction --output report.html"))
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    *,
    output: Annotated[
        Path | None, typer.Option(help="The HTML file. [default: PATH/report.html]", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a page about results: claims, audited attacks, figures, the federation, pictures, episodes, settings.

    PATH is a results root, also one that only has an audit, or a run's folder or result file. The page is one HTML
    file and needs no network.
    """
    from experiments.cli.session import report_session

    raise typer.Exit(report_session(path, output, data_dir, as_json=as_json))


@app.command(epilog=epilog("bench update", "bench round --repetitions 3 --json", "bench scale --engine ray"))
def bench(
    name: Annotated[str, typer.Argument(click_type=Choice(tuple(BENCHMARKS)))],
    *,
    repetitions: Annotated[
        int | None, typer.Option(min=1, help="Timed turns of each contender. [default: depends on the benchmark]")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            click_type=Choice(ENGINES[:2]), help="Engine that `scale` measures. [default: flower]", show_default=False
        ),
    ] = None,
    results_dir: Annotated[Path, typer.Option(help="Folder for the numbers.")] = Path("results/benchmarks"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure speed as a ratio to something measured in the same run: a table, and all numbers as JSON.

    Do not use the machine meanwhile.
    """
    from experiments.cli.session import benchmark_session

    raise typer.Exit(benchmark_session(name, repetitions, results_dir, engine=engine, quiet=quiet, as_json=as_json))


@app.command(epilog=epilog("doctor", "doctor --dataset omniglot --data-dir ~/omniglot", "doctor --no-run --json"))
def doctor(
    *,
    dataset: Annotated[
        str | None, typer.Option(click_type=Choice(DATASETS), help="Also check this data set.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    results_dir: Annotated[Path, typer.Option(help="Folder that runs write below.")] = Path("results"),
    cache_dir: Annotated[Path | None, typer.Option(help="Folder for decoded data sets.", show_default=False)] = None,
    runs: Annotated[bool, typer.Option("--run/--no-run", help="Whether to run two rounds.")] = True,
    app_dir: AppDir = APP_DIR,
    as_json: AsJson = False,
) -> None:
    """Check everything that a run needs, and say what is wrong and how to fix it.

    Versions, cores, memory, GPUs, ports, folders, data, what other runs left behind, and a run of two rounds. Exits
    with 1 if something is wrong, but not because of warnings.
    """
    from experiments.doctor.examination import DoctorRequest, doctor_session

    request = DoctorRequest(
        dataset=dataset,
        data_dir=data_dir,
        cache_dir=cache_dir,
        results_dir=results_dir,
        runs=runs,
        app_dir=app_dir,
    )
    raise typer.Exit(doctor_session(request, as_json=as_json))
