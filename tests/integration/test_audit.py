"""The command `audit` from end to end, with settings so small that the attack fails."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.commands import app

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SMALL = (
    "image-size=16",
    "filters=8",
    "strokes-classes=60",
    "pretrain-rounds=1",
    "pretrain-outer-steps=1",
    "attack-round=3",
    "num-server-rounds=4",
    "outer-steps=1",
    "poison-outer-steps=1",
    "meta-batch-size=1",
    "evaluate-episodes=2",
    "matching-way=6",
    "matching-steps=1",
    "local-curve-steps=0 1",
    "device=cpu",
)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_audit_keeps_its_measurements_and_fails_by_the_name_of_a_weak_attack(tmp_path: Path, jobs: int) -> None:
    settings = [word for one in (*SMALL, f"cache-dir={tmp_path}") for word in ("-c", one)]
    arguments = ["audit", "model-replacement", "norm-bound-1", "--curves", "matching", "--jobs", str(jobs), "--json"]
    arguments += ["--results-dir", str(tmp_path), *settings]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 1, first.output
    document = json.loads(first.stdout)
    assert document["error"].startswith("model-replacement: expected a backdoor accuracy")
    assert [one["name"] for one in document["attacks"]] == ["model-replacement", "norm-bound-1"]
    assert all(one["detection"][0]["benign_scores"] >= 20 for one in document["attacks"])
    assert document["attacks"][1]["uploads"][0][0]["checks"] == {"norm-bound": True}
    folder = tmp_path / "audit" / "strokes" / "quick"
    files = {file: file.stat().st_mtime_ns for file in (folder / "seed-0").glob("*.json")}
    assert sorted(file.stem for file in files) == ["clean", "model-replacement", "norm-bound-1"]
    assert str(tmp_path) not in "".join(file.read_text(encoding="utf-8") for file in files)
    assert (folder / "security.png").is_file()

    again = CliRunner().invoke(app, arguments)
    assert json.loads(again.stdout)["attacks"] == document["attacks"]
    assert {file: file.stat().st_mtime_ns for file in files} == files
    other = CliRunner().invoke(app, [*arguments, "-c", "poison-outer-steps=2"])
    assert other.exit_code == 2
    assert "poison-outer-steps: expected 2, found 1" in other.stderr
