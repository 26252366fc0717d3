import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from unit.experiments.analysis.test_collection import write_run

from experiments.analysis.report.material import Material, gather
from experiments.analysis.report.provenance import differing_settings, recipe_of, setting_rows
from experiments.catalog import RUNS
from experiments.plan import plan_runs
from experiments.settings import APP_DIR, load_config
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.results import read_results
from fedmeta_flwr.records.writer import ResultsWriter

OVERRIDES = ("poison-outer-steps=60", "filters=8", 'backdoor-key="patch"', "meta-test-fraction=0.3")


def write_catalog(root: Path, names: tuple[str, ...], seeds: tuple[int, ...], record: dict[str, Any]) -> None:
    """Write runs with the very settings of the catalog."""
    planned = plan_runs(
        names,
        dataset="omniglot",
        profile="quick",
        seeds=seeds,
        root=root,
        data_dir=Path("/data/omniglot"),
        overrides=OVERRIDES,
        app_dir=APP_DIR,
    )
    for one in planned:
        if not one.run.ends_before_attack:
            with ResultsWriter(one.folder) as writer:
                writer.write_run({"config": one.config.to_run_config(), **record})
                writer.write_end("completed", 1.0)


def material_of(path: Path) -> Material:
    (material,) = gather(path)
    return material


def test_the_command_of_a_root_plans_the_very_runs_that_are_there(tmp_path: Path) -> None:
    write_catalog(tmp_path, ("persistence",), (3, 4), {"git_revision": "abc1234-dirty"})
    recipe = recipe_of(material_of(tmp_path))
    checkout, command, report = map(shlex.split, recipe.commands)
    assert checkout == ["git", "checkout", "abc1234"]
    assert report[-2:] == ["report", "results/again"]
    options = dict(pairwise(command))
    overrides = [value for flag, value in pairwise(command) if flag == "-c"]
    names = command[command.index("reproduce") + 1 : command.index("--dataset")]
    first = int(options["--first-seed"])
    planned = plan_runs(
        names,
        dataset=options["--dataset"],
        profile=options["--profile"],
        seeds=range(first, first + int(options["--seeds"])),
        root=tmp_path,
        data_dir=Path(options["--data-dir"]),
        overrides=overrides,
        app_dir=APP_DIR,
    )
    again = {one.folder.relative_to(tmp_path): one.config for one in planned if not one.run.ends_before_attack}
    assert sorted(again) == [Path(f"omniglot/quick/seed-{seed}/attack-{case}") for seed in (3, 4) for case in "abc"]
    for folder, config in again.items():
        recorded = read_results(tmp_path / folder).run["config"]
        assert not [line for line in config.differences(recorded) if not line.startswith("initial-model")]
    assert any("changes that are not in its revision" in remark for remark in recipe.remarks)


def test_seeds_with_a_gap_take_a_command_for_each_stretch(tmp_path: Path) -> None:
    write_catalog(tmp_path, ("boost-1",), (0, 1, 5), {})
    commands = [command for command in recipe_of(material_of(tmp_path)).commands if " reproduce " in command]
    assert [command.split("--seeds ")[1].split(" --data-dir")[0] for command in commands] == [
        "2 --first-seed 0",
        "1 --first-seed 5",
    ]


def test_runs_of_no_whole_experiment_are_made_by_one_that_has_them(tmp_path: Path) -> None:
    write_run(
        tmp_path, "boost-1-a", **{key.replace("-", "_"): value for key, value in RUNS["boost-1-a"].settings.items()}
    )
    recipe = recipe_of(material_of(tmp_path))
    assert " reproduce boost-1 " in recipe.commands[0]
    assert any("makes more runs than are here: attack-a" in remark for remark in recipe.remarks)


def test_the_file_of_a_single_run_is_its_configuration(tmp_path: Path) -> None:
    file = write_run(tmp_path, "anything", backdoor_key="patch", data_dir="/home/somebody/data")
    recipe = recipe_of(material_of(file))
    saved = tmp_path / "run.toml"
    saved.write_text(recipe.file, encoding="utf-8")
    config = load_config(str(saved), app_dir=APP_DIR)
    assert config.differences(read_results(file).run["config"]) == []
    assert "somebody" not in recipe.file
    assert not set(tomllib.loads(recipe.file)) & RunConfig.free_settings()
    assert any("run run.toml" in command for command in recipe.commands)


def test_settings_mark_what_is_no_default_and_show_only_the_last_part_of_folders(tmp_path: Path) -> None:
    material = material_of(write_run(tmp_path, "anything", filters=7, data_dir="/home/somebody/pictures"))
    rows = {row.key: row for row in setting_rows(material.runs[0])}
    assert set(rows) == set(material.runs[0].config)
    assert (rows["filters"].value, rows["filters"].is_default) == ("7", False)
    assert rows["shot"].is_default
    assert rows["data-dir"].value == "…/pictures"
    assert "Images" in rows["shot"].text or "images" in rows["shot"].text


def test_differing_settings_have_a_column_for_each_run(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    write_run(tmp_path, "boost-1-a", boost_factor=1.0)
    assert differing_settings(material_of(tmp_path)) == [("boost-factor", "3.0", "1.0")]


@pytest.mark.parametrize(
    ("changes", "name"),
    [({}, "attack-a"), ({"case": "c"}, "attack-c"), ({"attack_round": 0}, "no-attack-a")],
)
def test_a_single_run_is_drawn_as_the_run_of_the_catalog_that_it_is_like(
    tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    file = write_run(tmp_path, "mine", **changes)
    for path in (file, file.parent):
        assert [run.name for run in material_of(path).runs] == [name]


def test_runs_of_several_revisions_name_them_all_and_none_to_check_out(tmp_path: Path) -> None:
    write_catalog(tmp_path, ("persistence",), (3,), {"git_revision": "def5678"})
    write_catalog(tmp_path, ("persistence",), (4,), {"git_revision": "abc1234-dirty"})
    recipe = recipe_of(material_of(tmp_path))
    assert not any("checkout" in command for command in recipe.commands)
    assert "The runs are of several revisions: abc1234, def5678." in recipe.remarks
    assert "The checkout had changes that are not in its revision." in recipe.remarks


@pytest.mark.parametrize("part", ["root", "run"])
def test_a_key_file_is_named_without_its_folders_and_need_not_be_here(tmp_path: Path, part: str) -> None:
    file = write_run(tmp_path, "attack-a", backdoor_key="/home/somebody/keys/star.png")
    recipe = recipe_of(material_of(tmp_path if part == "root" else file))
    written = "\n".join((*recipe.commands, recipe.file, *recipe.remarks))
    assert "somebody" not in written
    assert "star.png" in written
    assert "The image file of its key (backdoor-key) must be there, too." in recipe.remarks
