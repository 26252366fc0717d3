"""The pre-training that the attacks of an audit start from: the run ``pretrain-a`` of the catalog."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.plan import PlannedRun, plan_runs
from experiments.runner.in_place import run_in_place
from experiments.runner.jobs import jobs_of
from experiments.runner.run import prepare

_EXPERIMENT, _ATTACKED, _PRETRAINING = "boost-1", "attack-a", "pretrain-a"


@dataclass(frozen=True)
class Plan:
    """The runs of the catalog that an audit of one seed is made from.

    Attributes
    ----------
    pretraining : PlannedRun
        It is run if it is missing.
    attacked : PlannedRun
        Its settings are those of the audit; it is not run.
    """

    pretraining: PlannedRun
    attacked: PlannedRun


@dataclass(frozen=True)
class PreTraining:
    """A missing pre-training; an interrupted one is resumed."""

    run_of_seed: PlannedRun
    git_revision: str

    @property
    def title(self) -> str:
        """Its name on the terminal."""
        return f"seed {self.run_of_seed.config.seed}, {self.run_of_seed.run.name}"

    def run(self) -> None:
        """Run it in this process."""
        (job,) = jobs_of([self.run_of_seed])
        config = job.take_up()
        prepare(config)
        run_in_place(config, self.git_revision, lambda *_: None)
        job.place()


def plans(
    *,
    dataset: str,
    profile: str,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None,
    overrides: Sequence[str],
    settings: Mapping[str, Any],
    app_dir: Path,
) -> dict[int, Plan]:
    """Return the plan of each seed.

    Parameters
    ----------
    dataset, profile, seeds, root, data_dir, overrides, app_dir
        As in `experiments.plan.plan_runs`.
    settings : mapping
        Further overrides.
    """
    planned = plan_runs(
        (_EXPERIMENT,),
        dataset=dataset,
        profile=profile,
        seeds=seeds,
        root=root,
        data_dir=data_dir,
        overrides=[*overrides, *(f"{key}={json.dumps(value)}" for key, value in settings.items())],
        app_dir=app_dir,
    )
    found = {(one.config.seed, one.run.name): one for one in planned}
    return {seed: Plan(found[seed, _PRETRAINING], found[seed, _ATTACKED]) for seed in seeds}
