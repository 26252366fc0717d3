"""An attack of a user's package, named by a setting: through a run, its evaluation, its claims and its report."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.small_federation import SMALL

from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.collection import collect
from experiments.analysis.report import write_report
from experiments.engines.inline import run_inline
from experiments.runner.run import prepare
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.apps.preflight import preflight
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.records.checkpoint import BEFORE_ATTACK_FILE_NAME, load_checkpoint
from fedmeta_flwr.records.results import CURVES, read_results

ATTACK = 2
MODULE = '''
"""Attacks of a user."""

import numpy as np

from fedmeta_flwr.attacks import Attack, Upload


class Momentum(Attack):
    """Goes on where the global model went: uploads G_t + factor * (G_t - G_t-1), and draws a number."""

    def __init__(self, knowledge, factor=2.0):
        super().__init__(knowledge)
        self.factor = factor

    def remember(self, turn):
        return turn.global_arrays

    def local_update(self, turn):
        arrays = {
            name: array + np.float32(self.factor) * (array - turn.memory[name])
            for name, array in turn.global_arrays.items()
        }
        return Upload(arrays, 1, {"train-loss": 0.5, "drawn": float(turn.rng.random())})


class Silent(Attack):
    def local_update(self, turn):
        return None


class Renaming(Attack):
    def local_update(self, turn):
        return Upload({"other": np.zeros(2)}, 1, {"train-loss": 0.0})


class Doubling(Attack):
    def local_update(self, turn):
        arrays = {name: array.astype(np.float64) for name, array in turn.global_arrays.items()}
        return Upload(arrays, 1, {"train-loss": 0.0})


class Unweighted(Attack):
    def local_update(self, turn):
        return Upload(dict(turn.global_arrays), 0, {"train-loss": 0.0})


class Unmeasured(Attack):
    def local_update(self, turn):
        return Upload(dict(turn.global_arrays), 1, {})


class Infinite(Attack):
    def local_update(self, turn):
        arrays = {name: np.full_like(array, np.inf) for name, array in turn.global_arrays.items()}
        return Upload(arrays, 1, {"train-loss": 0.0})


class Imaginary(Unmeasured):
    def remember(self, turn):
        return {"kept": np.ones(2, np.complex128)}


def no_attack(knowledge):
    return "attack"
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of a package of attacks that lies outside of the app."""
    folder = tmp_path / "site" / "users_attacks"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "drifting.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield "users_attacks.drifting"
    for name in [name for name in sys.modules if name.partition(".")[0] == "users_attacks"]:
        del sys.modules[name]


def small(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    folders = {"cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "strokes/quick/seed-0/attack-a")}
    rounds = {"attack_round": ATTACK, "num_server_rounds": ATTACK + 1, "evaluate_every": 1, "checkpoint_every": 0}
    return {**SMALL, **rounds, **folders, **changes}


@pytest.mark.usefixtures("task_identity")
def test_an_attack_with_options_and_a_memory_goes_through_run_claims_and_report(package: str, tmp_path: Path) -> None:
    overrides = small(tmp_path, attack=f"{package}:Momentum", attack_options='{"factor": 5.0}')
    values = merge_settings(read_defaults(APP_DIR), {key.replace("_", "-"): value for key, value in overrides.items()})
    run_inline(values)
    config = RunConfig.parse(values)
    folder = Path(config.results_dir)
    results = read_results(folder)
    assert results.run["config"]["attack"] == f"{package}:Momentum"
    record = results.at_round(ATTACK)
    attack = record.arrivals[0]
    assert (attack.partition_id, attack.metrics["train-loss"]) == (0, 0.5)
    assert 0 <= attack.metrics["drawn"] < 1

    earlier = initial_arrays(config, load_scenario(config))
    sent = load_checkpoint(folder / BEFORE_ATTACK_FILE_NAME).arrays
    moved = np.sqrt(sum(float(((sent[name] - earlier[name]) ** 2).sum()) for name in sent))
    assert attack.update_norm == pytest.approx(5 * moved, rel=1e-4)

    assert set(record.accuracies() or {}) == set(CURVES)
    (collection,) = collect(tmp_path)
    assert judge_collection(collection).answers
    page = write_report(tmp_path, tmp_path / "report.html", None).read_text(encoding="utf-8")
    assert f"{package}:Momentum" in page


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("Momentum", '{"speed": 1}'), r"attack-options: expected options of .*:Momentum \(factor\), found 'speed'"),
        (("Momentum", "[1]"), r"attack-options: expected a JSON object, found '\[1\]'"),
        (("Momentum", '{"knowledge": 1}'), "attack-options: expected no option that the run sets itself"),
        (("no_attack", ""), "attack: expected '.*:no_attack' to return Attack, found str"),
        (("Silent", ""), "attack: expected '.*:Silent' to return Upload, found NoneType"),
        (("Renaming", ""), "attack: expected arrays .*head.bias, head.weight from '.*:Renaming', found other"),
        (("Doubling", ""), "attack: expected array .* from '.*:Doubling' to be float32 of shape .*, found float64 of"),
        (("Unweighted", ""), "attack: expected num_examples above 0 from '.*:Unweighted', found 0"),
        (("Unmeasured", ""), "attack: expected a metric train-loss of 0 or above from '.*:Unmeasured', found None"),
        (("Infinite", ""), "attack: expected array .* from '.*:Infinite' to have finite numbers, found others"),
        (("Imaginary", ""), "attack: expected '.*:Imaginary' to pass its trial before the run, found "),
        (("Momentum", '{"factor": "x"}'), "attack-options: .*:Momentum refuses {'factor': 'x'}: ValueError: could not"),
    ],
)
def test_an_attack_that_cannot_be_used_is_refused_before_anything_starts(
    package: str, run_config: Callable[..., RunConfig], tmp_path: Path, named: tuple[str, str], message: str
) -> None:
    attack, options = named
    with pytest.raises(ValueError, match=message):
        prepare(run_config(**small(tmp_path, attack=f"{package}:{attack}", attack_options=options)))
    assert not (tmp_path / "strokes").exists()


def test_an_attack_is_not_tried_where_there_is_none(
    package: str, run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    prepare(run_config(**small(tmp_path, attack=f"{package}:Silent", attack_round=0)))


def test_options_of_the_built_in_attack_are_checked_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"attack-options: expected options of model-replacement \(none\), found"):
        prepare(run_config(**small(tmp_path, attack_options='{"factor": 2}')))


def test_an_attack_without_such_a_module_is_refused(run_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="attack: expected a module that can be imported"):
        prepare(run_config(**small(tmp_path, attack="no.such.module:Attack")))


def test_a_built_in_attack_that_cannot_be_made_is_refused_and_a_remark_is_a_warning_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    many: dict[str, Any] = {"num_adversaries": 5, "num_clients": 7, "quorum": 6, "strokes_classes": 120, "key_size": 3}
    many["adversary_between_attacks"] = "benign"
    config = run_config(**small(tmp_path, attack="distributed-key", **many))
    with pytest.raises(RegistryError, match="expected a key of at least 5 pixels for 5 parts, found 4"):
        preflight(config)
    warning = preflight(run_config(**small(tmp_path, attack="a-little-is-enough"))).warning
    assert "a-little-is-enough: no attack at this size" in warning
