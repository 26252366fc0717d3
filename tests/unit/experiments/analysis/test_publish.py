import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from unit.experiments.analysis.test_collection import write_run
from unit.experiments.audit.audit_files import audited, write_audit
from unit.experiments.conftest import MakeConfig
from unit.experiments.made_up_runs import write_runs

from experiments.analysis import bootstrap
from experiments.analysis.collection import collect
from experiments.analysis.publish import publish
from experiments.analysis.security import read_audits
from experiments.cli.commands import app
from experiments.cli.session import claims_session, figures_session, publish_session
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.results import ResultsError, RoundRecord
from fedmeta_flwr.records.writer import ResultsWriter

RUN = Path("strokes", "quick", "seed-0", "attack-a")


def write_with_paths(root: Path, make_config: MakeConfig, status: str = "completed") -> None:
    config = make_config(dataset="strokes", seed=0).to_run_config() | dict.fromkeys(
        RunConfig.paths(), "/home/me/private"
    )
    with ResultsWriter(root / RUN) as writer:
        writer.write_run({"config": config})
        detail = "OSError: no file '/mnt/my private/a.png', /home/me/private/b"
        drop = Drop(2, DropReason.FAILED, detail)
        writer.write_round(RoundRecord(1, "pretrain", dropped=[drop]))
        writer.write_end(status, 1.5)


def test_published_results_hold_no_path_and_are_otherwise_the_same(tmp_path: Path, make_config: MakeConfig) -> None:
    write_with_paths(tmp_path / "root", make_config)
    publish(tmp_path / "root", tmp_path / "out")
    (before,), (after,) = collect(tmp_path / "root"), collect(tmp_path / "out")
    assert "private" not in (tmp_path / "out" / RUN / "results.jsonl").read_text()
    (record,) = after.runs["attack-a"][0].rounds
    assert [drop.detail for drop in record.dropped] == ["OSError: no file '…/a.png', …/b"]
    config = before.config("attack-a")
    assert after.config("attack-a") == config | dict.fromkeys(RunConfig.paths(), "")
    assert (
        after.runs["attack-a"][0].end
        == before.runs["attack-a"][0].end
        == {
            "kind": "end",
            "status": "completed",
            "model_digest": None,
            "seconds": 1.5,
        }
    )


def test_nothing_is_published_but_the_files_of_completed_runs(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_runs(root, runs=["attack-a"], seeds=[0])
    (root / RUN / "model.safetensors").write_bytes(b"weights")
    (root / RUN.with_name("attack-b.partial")).mkdir()
    files = publish(root, out)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted(files)
    assert sorted(files) == [out / RUN / "results.jsonl", out / RUN / "times.jsonl"]


def test_audits_are_published_as_compact_lines_with_or_without_runs(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    attacks = [audited("a", 60), audited("b", 50)]
    write_audit(root, attacks)
    files = publish(root, out)
    assert {file.name for file in files} == {"a.json", "b.json", "clean.json"}
    assert all(len(file.read_text().splitlines()) == 1 for file in files)
    assert read_audits(out) == {("strokes", "quick"): attacks}
    assert publish_session(root, tmp_path / "audits") == 0
    assert (tmp_path / "audits" / "figures" / "strokes-quick-norms.svg").is_file()
    assert not (tmp_path / "audits" / "claims.md").exists()
    assert (figures_session(root), claims_session(root)) == (0, 2)  # there is nothing to judge
    write_runs(root, runs=["attack-a"], seeds=[0])
    assert {*publish(root, out)} > {*files}
    write_audit(tmp_path / "other", [audited("a", 61)])
    with pytest.raises(ResultsError, match="expected no other results of this audit"):
        publish(tmp_path / "other", out)


def test_more_runs_join_those_that_were_published_and_again_gives_the_same_bytes(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    write_runs(root, runs=["attack-a"], seeds=[0])
    publish(root, out)
    first = (out / RUN / "results.jsonl").read_bytes()
    write_runs(tmp_path / "more", runs=["attack-a"], seeds=[1])
    publish(tmp_path / "more", out)
    publish(root, out)
    (published,) = collect(out)
    assert published.seeds("attack-a") == (0, 1)
    assert (out / RUN / "results.jsonl").read_bytes() == first


def test_other_results_of_a_published_run_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_runs(tmp_path / "root", runs=["attack-a"], seeds=[0])
    publish(tmp_path / "root", tmp_path / "out")
    published = (tmp_path / "out" / RUN / "results.jsonl").read_bytes()
    write_runs(tmp_path / "other", runs=["attack-a"], seeds=[0, 1], last_round=91)
    with pytest.raises(ResultsError, match=r"seed-0/attack-a/results.jsonl: expected no other results of this run"):
        publish(tmp_path / "other", tmp_path / "out")
    assert (tmp_path / "out" / RUN / "results.jsonl").read_bytes() == published
    assert not (tmp_path / "out" / "strokes" / "quick" / "seed-1").exists()


def test_a_seed_of_other_settings_than_the_published_ones_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_runs(tmp_path / "root", runs=["attack-a"], seeds=[0])
    publish(tmp_path / "root", tmp_path / "out")
    write_runs(tmp_path / "other", runs=["attack-a", "attack-b"], seeds=[1], settings={"outer-lr": 0.5})
    with pytest.raises(ResultsError, match=r"out/.*seed-1/attack-a/results.jsonl: expected the settings of .*seed-0"):
        publish(tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out" / "strokes" / "quick" / "seed-1").exists()


def test_results_without_a_file_of_times_are_published_without_it(tmp_path: Path) -> None:
    write_runs(tmp_path / "root", runs=["attack-a"], seeds=[0])
    (tmp_path / "root" / RUN / "times.jsonl").unlink()
    assert publish(tmp_path / "root", tmp_path / "out") == [tmp_path / "out" / RUN / "results.jsonl"]


def test_a_run_that_failed_is_not_published(tmp_path: Path, make_config: MakeConfig) -> None:
    write_with_paths(tmp_path / "root", make_config, status="failed: QuorumError")
    with pytest.raises(ResultsError, match="expected a run that completed"):
        publish(tmp_path / "root", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_runs(tmp_path / "root", runs=["attack-a"], seeds=[0])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ResultsError, match=r"cannot write .*out"):
        publish(tmp_path / "root", tmp_path / "out")


def test_the_command_draws_and_judges_all_that_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    for seed in (0, 1):
        write_run(tmp_path / "root", "attack-a", seed=seed)
    result = CliRunner().invoke(app, ["publish", str(tmp_path / "root"), str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = {str(Path(file).relative_to(tmp_path / "out")) for file in found["files"]}
    assert {"claims.md", "figures/strokes-quick-persistence.svg", str(RUN / "results.jsonl")} <= names
    assert all(Path(file).is_file() for file in found["files"])
    assert found["collections"][0]["runs"] == {"attack-a": [0, 1]}
