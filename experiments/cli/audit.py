"""The command ``audit``."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.completion import complete_attack
from experiments.cli.options import AppDir, AsJson, DataDir, Dataset, FilesOnly, FirstSeed, Overrides, Profile, Seeds
from experiments.settings import APP_DIR


def audit(
    attacks: Annotated[list[str] | None, typer.Argument(metavar="[ATTACKS]", autocompletion=complete_attack)] = None,
    *,
    dataset: Dataset = "strokes",
    profile: Profile = "quick",
    seeds: Seeds = 1,
    first_seed: FirstSeed = 0,
    curves: Annotated[
        str,
        typer.Option(
            help="Defenses that are measured along their steps, as in the setting step-curves.", metavar="NAMES"
        ),
    ] = "",
    results_dir: Annotated[Path, typer.Option(help="Results root.")] = Path("results/reproduction"),
    data_dir: DataDir = None,
    overrides: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: one for each core]", show_default=False)
    ] = None,
    quiet: FilesOnly = False,
    app_dir: AppDir = APP_DIR,
    as_json: AsJson = False,
) -> None:
    """Prove which attacks work without a defense, and measure defenses against all of them.

    ATTACKS are names of attacks; none: all of them. Each is carried out in the attack round of the catalog's run
    attack-a, and its upload is measured. Existing measurements are kept: you can stop the command at any time and start
    it again. In the quick audit on strokes, an attack must reach a floor of backdoor accuracy.
    """
    from experiments.audit.audit import AuditRequest
    from experiments.cli.audit_session import audit_session

    request = AuditRequest(
        names=tuple(attacks or ()),
        dataset=dataset,
        profile=profile,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        results_root=results_dir,
        data_dir=data_dir,
        overrides=tuple(overrides or ()),
        curves=curves,
        jobs=jobs,
        app_dir=app_dir,
    )
    raise typer.Exit(audit_session(request, quiet=quiet, as_json=as_json))
