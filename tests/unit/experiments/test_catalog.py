from dataclasses import fields

import pytest

from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.figures import panels
from experiments.catalog import CONTROLS, DATASETS, EXPERIMENTS, MEASURED_RUNS, PROFILES, RUNS, CatalogError, runs_of
from experiments.settings import CONFIGS_DIR, read_settings
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.setting import key_of

SETTINGS = {key_of(field) for field in fields(RunConfig)}


def test_every_claim_of_the_poster_rests_on_an_experiment() -> None:
    assert {claim for experiment in EXPERIMENTS.values() for claim in experiment.claims} == set(CLAIMS)


def test_every_experiment_names_runs_of_the_catalog_and_a_figure_that_can_be_drawn() -> None:
    for experiment in EXPERIMENTS.values():
        assert set(experiment.runs) <= set(RUNS)
        assert experiment.figure in panels.PLANS
        for profile in PROFILES:
            assert set(experiment.runs_in(profile)) <= set(experiment.runs)


def test_figures_and_claims_read_every_run_but_pre_training() -> None:
    assert set(MEASURED_RUNS) == {name for name in RUNS if not name.startswith("pretrain-")}
    assert set(CONTROLS) < set(MEASURED_RUNS)


def test_runs_change_settings_that_exist() -> None:
    for run in RUNS.values():
        assert set(run.settings) <= SETTINGS


@pytest.mark.parametrize("name", [*DATASETS, *PROFILES])
def test_every_data_set_and_profile_has_a_file_of_settings_that_exist(name: str) -> None:
    assert set(read_settings(CONFIGS_DIR / "reproduce" / f"{name}.toml")) <= SETTINGS


def test_a_pre_training_is_made_once_and_before_the_runs_that_start_from_it() -> None:
    names = [run.name for run in runs_of([], "full")]
    assert len(names) == len(set(names)) == len(RUNS)
    for run in RUNS.values():
        if run.after is not None:
            assert names.index(run.after) < names.index(run.name)


def test_cases_b_and_c_share_a_pre_training_and_case_a_has_another() -> None:
    assert RUNS["attack-b"].after == RUNS["attack-c"].after != RUNS["attack-a"].after


def test_one_experiment_needs_only_its_runs() -> None:
    assert [run.name for run in runs_of(["boost-1"], "quick")] == ["pretrain-a", "boost-1-a", "attack-a"]


def test_an_unknown_experiment_is_named_beside_those_that_exist() -> None:
    with pytest.raises(CatalogError, match=r"expected any of persistence, .*, found 'persistance'"):
        runs_of(["persistance"], "full")
