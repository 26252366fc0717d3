"""The audit: pre-trainings, clean measurements, attacks, and which of them miss what they must reach."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.analysis.audit_files import FOLDER, existing, file_of, read_measured, seed_folder
from experiments.analysis.redaction import without_folders
from experiments.analysis.security import Audited, audited, excess_of, loss_of
from experiments.audit.attacks import CLEAN, Variant, variants_of
from experiments.audit.errors import AuditFailedError
from experiments.audit.pretraining import Plan, PreTraining, plans
from experiments.audit.round import require_auditable
from experiments.audit.tasks import Task
from experiments.audit.workers import Work, work_off
from experiments.runner.simulation import count_cores, read_git_revision
from experiments.settings import parse_settings
from fedmeta_flwr.records import ResultsError
from fedmeta_flwr.records.writer import locked

_FLOORS = ("strokes", "quick")


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """A request to audit attacks.

    Attributes
    ----------
    names : tuple of str
        Attacks of `VARIANTS`; none: all.
    dataset, profile : str
        As in the catalog.
    seeds : tuple of int
        The seeds.
    results_root : Path
        The results root.
    data_dir : Path or None
        Folder of the data set's files.
    overrides : tuple of str
        ``key=value`` each, for all attacks.
    curves : str
        The setting ``step-curves``: which defenses are measured along their steps.
    jobs : int or None
        Processes; None: one for each core.
    app_dir : Path
        Folder of the Flower App.
    """

    names: tuple[str, ...]
    dataset: str
    profile: str
    seeds: tuple[int, ...]
    results_root: Path
    data_dir: Path | None
    overrides: tuple[str, ...]
    curves: str
    jobs: int | None
    app_dir: Path


def audit(request: AuditRequest, console: Console) -> list[Audited]:
    """Measure what is missing, and return what was found for each attack.

    Raises
    ------
    ValueError
        For bad input: names, settings, data, files of another configuration.
    RunFailedError
        If a pre-training or a measurement does not complete.
    """
    variants = variants_of(request.names)
    planned = {variant.name: _plans(variant, request) for variant in variants}
    pairs = [(variant, plan) for variant in variants for plan in planned[variant.name].values()]
    attacks = [_task(variant, plan, request) for variant, plan in pairs]
    cleans = [_task(variant, plan, request, is_clean=True) for variant, plan in pairs]
    for task in attacks:
        require_auditable(task.config)
    with locked(request.results_root / FOLDER):
        for works in (
            _missing_pretraining(planned, request),
            _missing({(task.folder, task.name): task for task in cleans}.values()),
            _missing(attacks),
        ):
            _work(works, request, console)
    return [_audited(variant, [task for task in attacks if task.name == variant.name]) for variant in variants]


def require_passed(audited: Sequence[Audited], request: AuditRequest) -> None:
    """Raise `AuditFailedError` if a promise is broken or, in the quick audit on strokes, a floor is missed."""
    has_floors = (request.dataset, request.profile) == _FLOORS
    variants = {variant.name: variant for variant in variants_of(request.names)}
    problems = [
        problem
        for one in audited
        for problem in (*_broken(one), *(_missed(one, variants[one.name]) if has_floors else ()))
    ]
    if problems:
        raise AuditFailedError("\n".join(problems))


def _broken(one: Audited) -> list[str]:
    return [
        f"{one.name}: seed {measured.seed}, client {upload['partition_id']}: expected that its bound {check} holds, "
        "found that it does not"
        for measured in one.poisoned
        for upload in measured.numbers["uploads"]
        for check, holds in upload["checks"].items()
        if not holds
    ]


def _missed(one: Audited, variant: Variant) -> list[str]:
    problems = []
    if variant.floor is not None and (found := 100 * excess_of(one, "attack_training").value) < variant.floor:
        problems.append(
            f"{one.name}: expected a backdoor accuracy (attack training) at least {variant.floor:g} points above the "
            f"clean model's, found {found:+.1f}"
        )
    if variant.least_harm is not None and (lost := 100 * loss_of(one, "main_task").value) < variant.least_harm:
        problems.append(
            f"{one.name}: expected that it costs at least {variant.least_harm:g} points of main-task accuracy, "
            f"found {lost:+.1f}"
        )
    return problems


def _plans(variant: Variant, request: AuditRequest) -> dict[int, Plan]:
    root = request.results_root
    return plans(
        dataset=request.dataset,
        profile=request.profile,
        seeds=request.seeds,
        root=root / FOLDER / f"federation-{variant.name}" if variant.has_federation else root,
        data_dir=request.data_dir,
        overrides=request.overrides,
        settings=variant.settings if variant.has_federation else {},
        app_dir=request.app_dir,
    )


def _task(variant: Variant, plan: Plan, request: AuditRequest, *, is_clean: bool = False) -> Task:
    """Return the measurements of an attack on a seed, or the clean measurements that it is compared with."""
    is_shared = is_clean and variant.clean == CLEAN
    folder = seed_folder(request.results_root, request.dataset, request.profile, plan.attacked.config.seed)
    config = parse_settings(
        plan.attacked.config.to_run_config(),
        {} if is_shared else variant.settings,
        {"step-curves": request.curves, "results-dir": str(folder)},
    )
    return Task(
        name=variant.clean if is_clean else variant.name,
        clean="" if is_clean else variant.clean,
        config=config,
        folder=folder,
        pretraining=plan.pretraining.folder,
        git_revision=read_git_revision(request.app_dir),
        command=without_folders(f"python -m experiments {shlex.join(sys.argv[1:])}"),
    )


def _missing_pretraining(planned: dict[str, dict[int, Plan]], request: AuditRequest) -> list[PreTraining]:
    found = {plan.pretraining.folder: plan.pretraining for by_seed in planned.values() for plan in by_seed.values()}
    missing = [one for one in found.values() if one.seconds() is None]
    if odd := [one.folder for one in missing if one.folder.exists()]:
        raise ResultsError(f"results-dir: expected no folder of a missing run, found one to remove: {odd[0]}")
    return [PreTraining(one, read_git_revision(request.app_dir)) for one in missing]


def _missing(tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if existing(task.folder, task.name, task.config) is None]


def _work(works: Sequence[Work], request: AuditRequest, console: Console) -> None:
    left = len(works)

    def done(work: Work) -> None:
        nonlocal left
        left -= 1
        console.print(f"{work.title}: done{f', {left} left' if left else ''}", markup=False)

    work_off(works, request.jobs or min(count_cores(), max(1, left)), done)


def _audited(variant: Variant, tasks: Sequence[Task]) -> Audited:
    poisoned = [read_measured(file_of(task.folder, task.name)) for task in tasks]
    clean = [read_measured(file_of(task.folder, task.clean)) for task in tasks]
    return audited(variant.name, poisoned, clean)
