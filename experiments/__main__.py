"""The command line: ``python -m experiments``."""

from pathlib import Path
from typing import Annotated

import typer

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
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AppDir = Annotated[Path, typer.Option("--app", help="Folder of the Flower App.", hidden=True)]


def _complete_config(incomplete: str) -> list[str]:
    from experiments.settings import CONFIGS_DIR

    return sorted(path.stem for path in CONFIGS_DIR.glob(f"{incomplete}*.toml"))


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


@app.command(epilog="Example: `python -m experiments figures results/quickstart-20250101-120000`")
def figures(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
) -> None:
    """Print the table and draw the figure of a finished (or cut short) run again.

    PATH is a result file or the folder that holds it; the figure is put beside the file.
    """
    from experiments.session import figures_session

    raise typer.Exit(figures_session(path))


if __name__ == "__main__":
    app(prog_name="python -m experiments")
