"""How a defense is made from its settings, and the errors if it cannot be made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from unit.small_federation import RunConfigs

from fedmeta_flwr.apps.preflight import preflight
from fedmeta_flwr.config import ConfigError
from fedmeta_flwr.config.registry import RegistryError, names
from fedmeta_flwr.defenses import make_defense
from fedmeta_flwr.defenses.base import Defense
from fedmeta_flwr.defenses.none import Undefended

HERE = "unit.defenses.test_defenses"
MEANS = "examples.custom_defense:ClassMeans"


def picky(*, level: int) -> Defense:
    if level < 1:
        raise ValueError(f"level: expected at least 1, found {level}")
    return Undefended()


def no_defense() -> int:
    return 3


@pytest.mark.parametrize("name", names("defense"))
def test_settings_with_a_built_in_defense_are_checked_without_pytorch(name: str) -> None:
    code = (
        "import sys, tomllib\n"
        "from fedmeta_flwr.config import RunConfig\n"
        "values = tomllib.load(open('pyproject.toml', 'rb'))['tool']['flwr']['app']['config']\n"
        f"RunConfig.parse(values | {{'defense': {name!r}, 'step-curves': 'matching'}})\n"
        "print([module for module in ('torch', 'flwr', 'numpy') if module in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("none", '{"steps": 3}', r"defense-options: expected options of none \(none\), found 'steps'"),
        ("rescue", '{"step": 3}', r"expected options of rescue \(steps, lr, trained, .*, attentions\), found 'step'"),
        ("rescue", '{"attentions": 0}', "rescue refuses .*: attentions: expected a whole number, 1 or above, found 0"),
        ("fresh-head", '{"lr": 0}', "fresh-head refuses .*: lr: expected a number above 0, found 0"),
        ("none", "[]", r"defense-options: expected a JSON object, found '\[\]'"),
        (MEANS, '{"step": 3}', f"defense-options: expected options of {MEANS} .steps., found 'step'"),
        (f"{HERE}:no_defense", "", f"defense: expected '{HERE}:no_defense' to return Defense, found int"),
        (f"{HERE}:picky", "", f"defense: expected '{HERE}:picky' to take the arguments of the built-in one"),
        (
            f"{HERE}:picky",
            '{"level": 0}',
            f"defense-options: {HERE}:picky refuses .*: level: expected at least 1, found 0",
        ),
    ],
)
def test_a_defense_that_cannot_be_made_is_reported_with_the_settings(
    run_config: RunConfigs, name: str, options: str, problem: str
) -> None:
    with pytest.raises(RegistryError, match=problem):
        make_defense(name, options)
    with pytest.raises(ConfigError, match=problem) as caught:
        preflight(run_config(defense=name, defense_options=options, step_curves="matching"))
    assert len(caught.value.problems) == 1


def test_missing_code_is_reported_by_whatever_needs_it_and_settings_can_be_read(run_config: RunConfigs) -> None:
    config = run_config(defense="no_such_module:Defense", step_curves="its-own", max_num_examples=500)
    with pytest.raises(ConfigError, match="defense: expected a module that can be imported"):
        config.require_custom_objects()


def test_a_custom_defense_has_its_step_curve(run_config: RunConfigs) -> None:
    assert run_config(defense=MEANS, step_curves="class-means head").step_curve_names == ("class_means", "head")
    config = run_config(defense=MEANS, step_curves="class_means")
    with pytest.raises(ConfigError, match=r"any of fine-tuning, .*, class-means, found 'class_means'"):
        preflight(config)


def test_the_examples_of_a_custom_defense_are_counted_before_the_run(run_config: RunConfigs) -> None:
    config = run_config(defense=MEANS, max_num_examples=49_999)
    with pytest.raises(ConfigError, match="max-num-examples: expected at least 50000") as caught:
        preflight(config)
    assert len(caught.value.problems) == 1


def test_reading_settings_runs_no_code_that_they_name(run_config: RunConfigs, tmp_path: Path) -> None:
    made = tmp_path / "made"
    options = json.dumps({"args": ["touch", str(made)]})
    run_config(defense="subprocess:check_output", defense_options=options, step_curves="matching")
    assert not made.exists()
