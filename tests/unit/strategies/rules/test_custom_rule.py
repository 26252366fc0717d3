"""A server rule of a user's package, named by a setting: through a run, its evaluation, its claims and its report."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.small_federation import SMALL

from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.collection import collect
from experiments.analysis.report import write_report
from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import AFTER_ATTACK_FILE_NAME, BEFORE_ATTACK_FILE_NAME, load_checkpoint
from fedmeta_flwr.records.results import CURVES, read_results
from strategies import StrategyError

ATTACK = 2
MODULE = '''
"""Server rules of a user."""

from strategies import ServerRule


class Still(ServerRule):
    """Moves every array by a constant, whatever the clients upload."""

    def __init__(self, by=0.0):
        self.by = by

    def aggregate(self, updates, context):
        assert context.tolerated_adversaries == 1
        return {name: array + self.by for name, array in context.arrays.items()}


class Broken(ServerRule):
    def aggregate(self, updates, context):
        return context.arrays["no such"]
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a package of rules that lies outside of the app."""
    folder = tmp_path / "site" / "users_rules"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "moving.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield "users_rules.moving"
    for name in [name for name in sys.modules if name.partition(".")[0] == "users_rules"]:
        del sys.modules[name]


def settings(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    folders = {"cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "strokes/quick/seed-0/attack-a")}
    rounds = {"attack_round": ATTACK, "num_server_rounds": ATTACK + 1, "evaluate_every": 1, "checkpoint_every": 1}
    overrides = {**SMALL, **rounds, **folders, **changes}
    return merge_settings(read_defaults(APP_DIR), {key.replace("_", "-"): value for key, value in overrides.items()})


@pytest.mark.usefixtures("task_identity")
def test_a_rule_with_an_option_goes_through_run_claims_and_report(package: str, tmp_path: Path) -> None:
    values = settings(tmp_path, strategy=f"{package}:Still", strategy_options='{"by": 0.25}')
    run_inline(values)
    config = RunConfig.parse(values)
    folder = Path(config.results_dir)
    results = read_results(folder)
    assert results.run["config"]["strategy"] == f"{package}:Still"
    assert set(results.at_round(ATTACK).accuracies() or {}) == set(CURVES)

    initial = initial_arrays(config, load_scenario(config))
    for number, name in ((ATTACK - 1, BEFORE_ATTACK_FILE_NAME), (ATTACK, AFTER_ATTACK_FILE_NAME)):
        for key, array in load_checkpoint(folder / name).arrays.items():
            np.testing.assert_allclose(array, initial[key] + 0.25 * number, rtol=0, atol=1e-5)

    (collection,) = collect(tmp_path)
    assert judge_collection(collection).answers
    assert f"{package}:Still" in write_report(tmp_path, tmp_path / "report.html", None).read_text(encoding="utf-8")


@pytest.mark.usefixtures("task_identity")
def test_what_a_rule_raises_is_the_end_of_the_run(package: str, tmp_path: Path) -> None:
    values = settings(tmp_path, strategy=f"{package}:Broken")
    with pytest.raises(StrategyError, match="round 1: rule Broken: KeyError: 'no such'"):
        run_inline(values)
    end = read_results(Path(values["results-dir"])).end
    assert end is not None
    assert "round 1: rule Broken" in end["status"]
