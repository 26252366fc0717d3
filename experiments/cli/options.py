"""Options that several commands have, and the text below their help."""

from pathlib import Path
from typing import Annotated

import typer
from click import Choice

from experiments.catalog import DATASETS, PROFILES
from experiments.cli.completion import complete_setting
from experiments.engines import ENGINES

EXIT_CODES = """Exit codes: 0 done; 1 failed; 2 a mistake in the command, the configuration or the data; 130 Ctrl-C; \
143 terminated."""


def epilog(*examples: str) -> str:
    """Return the text below the help of a command: exit codes, and examples without the program's name."""
    listed = "\n\n".join(f"- `python -m experiments {example}`" for example in examples)
    return f"{EXIT_CODES}\n\n\n\nExamples:\n\n{listed}"  # Typer leaves one blank line of two


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting; the value is TOML or plain text.",
        autocompletion=complete_setting,
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Folder with the dataset's files (setting data-dir).")]
ResultsDir = Annotated[
    Path | None, typer.Option(help="Folder for the results. [default: results/NAME-DATE-TIME]", show_default=False)
]
Actors = Annotated[
    int | None,
    typer.Option(min=1, help="Processes that play the clients. [default: 1.5 per core]", show_default=False),
]
FlowerActors = Annotated[
    int | None,
    typer.Option(
        min=1, help="With --engine flower: processes that play the clients. [default: 1.5 per core]", show_default=False
    ),
]
RayCluster = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Spread the runs over this Ray cluster, which must see the results root."),
]
RayAddress = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Run on this Ray cluster, with an actor for each of its cores.")
]
Engine = Annotated[
    str,
    typer.Option(
        click_type=Choice(ENGINES),
        help="What runs the clients: Flower's simulation, Ray actors without Flower's SuperLink, or this process.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume the run in the results folder from its newest checkpoint.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
FilesOnly = Annotated[bool, typer.Option("--quiet", "-q", help="Print no table, only the names of the files.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, everything else on standard error.")
]
AppDir = Annotated[
    Path, typer.Option("--app", help="Folder of the Flower App, a checkout. [default: this one]", show_default=False)
]
Dataset = Annotated[str, typer.Option(click_type=Choice(DATASETS), help="Which images.")]
Profile = Annotated[str, typer.Option(click_type=Choice(PROFILES), help="How much is run.")]
FirstSeed = Annotated[int, typer.Option(min=0, help="The first of them; the others follow it.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds.")]
