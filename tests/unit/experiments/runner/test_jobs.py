"""What is executed for missing runs, how it is taken up again, and where its results go."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from experiments.plan import PlannedRun, plan_runs
from experiments.runner.jobs import Job, jobs_of
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints
from fedmeta_flwr.records.writer import ResultsWriter


def planned(root: Path, *names: str, overrides: tuple[str, ...] = ()) -> list[PlannedRun]:
    return plan_runs(
        names,
        dataset="strokes",
        profile="full",
        seeds=(0,),
        root=root,
        data_dir=None,
        overrides=overrides,
        app_dir=ROOT,
    )


def names_of(jobs: list[Job]) -> list[list[str]]:
    return [[one.run.name for one in job.runs] for job in jobs]


def job_of(root: Path, name: str, *experiments: str) -> Job:
    (job,) = (job for job in jobs_of(planned(root, *experiments)) if name in [one.run.name for one in job.runs])
    return job


def complete(folder: Path, job: Job) -> None:
    with ResultsWriter(folder) as writer:
        writer.write_run({"config": job.config.to_run_config()})
        writer.write_end("completed", 1.0)


def test_runs_that_differ_only_in_their_case_share_a_job(tmp_path: Path) -> None:
    jobs = jobs_of(planned(tmp_path, "persistence", "defended-federation"))
    shared = [["attack-b", "attack-c"], ["defended-b", "defended-c"]]
    assert [job for job in names_of(jobs) if len(job) > 1] == shared
    for job in jobs:
        folder, cases = job.runs[0].folder, "".join(one.config.case for one in job.runs)
        assert job.config.case == cases
        for one in job.runs:
            assert replace(one.config, case=cases, results_dir=str(job.partial)) == job.config
        assert job.partial.parent == folder.parent


def test_a_run_has_its_own_job_where_the_other_case_is_there_or_was_begun(tmp_path: Path) -> None:
    runs = planned(tmp_path, "persistence")
    assert names_of(jobs_of([one for one in runs if one.run.name != "attack-b"]))[-1] == ["attack-c"]
    (begun,) = (one for one in runs if one.run.name == "attack-c")
    begun.partial.mkdir(parents=True)
    assert names_of(jobs_of(runs))[-2:] == [["attack-b"], ["attack-c"]]


@pytest.mark.parametrize("kind", ["client=examples.custom_client:NoisyClient", "strategy=examples.custom_strategy:X"])
def test_custom_clients_and_strategies_get_separate_runs(tmp_path: Path, kind: str) -> None:
    assert all(len(job) == 1 for job in names_of(jobs_of(planned(tmp_path, "persistence", overrides=(kind,)))))


def test_the_other_case_is_taken_from_a_shared_run_that_ended_between_the_two(tmp_path: Path) -> None:
    job = job_of(tmp_path, "attack-b", "persistence")
    for case in "bc":
        (job.partial / f"case-{case}").mkdir(parents=True)
    first, second = job.runs
    (job.partial / "case-b").rename(first.folder)
    (left,) = (found for found in jobs_of([second]))
    assert left.config == job.config
    left.place()
    assert sorted(path.name for path in first.folder.parent.iterdir()) == ["attack-b", "attack-c"]


def test_clients_keep_their_private_state_in_a_resumed_run(tmp_path: Path) -> None:
    job = job_of(tmp_path, "defended-b", "defended-federation")
    assert job.pretraining is not None
    kept = job.pretraining / "clients" / "client-1.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"attention")
    alone = job_of(tmp_path, "defended-a", "defended-federation")
    for one in (job, alone):
        one.take_up()
    assert (job.partial / "clients" / "client-1.safetensors").read_bytes() == b"attention"
    assert kept.read_bytes() == b"attention"
    assert not alone.partial.exists()  # it begins with its pre-training


def test_a_run_that_was_stopped_resumes_from_its_checkpoint_and_begins_anew_without_one(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pretrain-a", "boost-1")
    left = job.partial / "results.jsonl"
    left.parent.mkdir(parents=True)
    left.touch()
    assert job.take_up() == job.config
    assert not left.exists()
    RunCheckpoints(job.partial).save(10, {"server_round": 10}, job.config)
    left.touch()
    assert job.take_up() == replace(job.config, resume=True)
    assert left.exists()
    RunCheckpoints(job.partial).save(20, {"server_round": 20}, replace(job.config, outer_lr=0.5))
    assert job.take_up() == job.config
    assert not left.exists()


def test_a_run_that_was_stopped_after_its_end_is_not_made_again(tmp_path: Path) -> None:
    job = job_of(tmp_path, "pretrain-a", "boost-1")
    complete(job.partial, job)
    assert job.take_up() == replace(job.config, resume=True)
    assert (job.partial / "results.jsonl").is_file()
