import subprocess
from pathlib import Path

import pytest
from unit.experiments.conftest import MakeConfig

from experiments.runner import simulation
from experiments.runner.simulation import SimulationSize, read_git_revision, simulation_environment, simulation_size


@pytest.mark.parametrize(("cores", "actors", "expected"), [(1, None, 2), (2, None, 3), (64, None, 4), (2, 6, 6)])
def test_actors_are_a_few_more_than_cores_and_no_more_than_clients_unless_set(
    cores: int, actors: int | None, expected: int, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "count_cores", lambda: cores)
    assert simulation_size(make_config(num_clients=4, device="cpu"), actors).actors == expected


@pytest.mark.parametrize(("actors", "gpus"), [(1, 1), (4, 1), (3, 2), (2, 4), (7, 3)])
def test_every_actor_finds_room_on_a_gpu(actors: int, gpus: int) -> None:
    share = SimulationSize(nodes=8, actors=actors, gpus=gpus).gpus_per_actor
    assert 0 < share <= 1
    assert gpus * int(1 / share + 1e-9) >= actors


def test_without_gpus_an_actor_asks_for_none() -> None:
    expected = {
        "num-supernodes=8",
        "client-resources-num-cpus=1",
        "client-resources-num-gpus=0.0",
        "init-args-num-cpus=3",
        "init-args-num-gpus=0",
    }
    assert set(SimulationSize(nodes=8, actors=3).to_federation_config().split()) == expected


def test_a_cluster_keeps_its_size_and_is_found_by_its_address(tmp_path: Path, make_config: MakeConfig) -> None:
    size = simulation_size(make_config(num_clients=8), None, "10.0.0.1:6379")
    assert "init-args" not in size.to_federation_config()
    environment = simulation_environment(tmp_path, "abc", size.ray_address)
    assert environment["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert "RAY_TMPDIR" not in environment
    with pytest.raises(ValueError, match="actors: expected none with a Ray cluster"):
        simulation_size(make_config(), 3, "10.0.0.1:6379")
    with pytest.raises(ValueError, match="device: expected cpu or auto with a Ray cluster"):
        simulation_size(make_config(device="cuda"), None, "10.0.0.1:6379")


def test_a_gpu_that_is_not_there_is_refused(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "_count_gpus", lambda: 0)
    with pytest.raises(ValueError, match="expected a GPU for device = 'cuda', found none"):
        simulation_size(make_config(device="cuda"), None)
    assert simulation_size(make_config(device="auto"), None).gpus == 0


def test_the_environment_keeps_other_code_and_other_clusters_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("no_proxy", "intranet")
    environment = simulation_environment(tmp_path, "abc")
    assert not {"PYTHONPATH", "RAY_ADDRESS"} & set(environment)
    assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert int(environment["MALLOC_TRIM_THRESHOLD_"]) >= 2**30
    assert environment["FEDMETA_GIT_REVISION"] == "abc"
    assert environment["no_proxy"] == "intranet,127.0.0.1,localhost"
    for variable in ("FLWR_HOME", "RAY_TMPDIR", "TMPDIR"):
        assert Path(environment[variable]).is_relative_to(tmp_path)


def test_the_git_revision_is_the_commit_and_says_when_the_checkout_is_modified(tmp_path: Path) -> None:
    assert read_git_revision(tmp_path) == "unknown"
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = read_git_revision(tmp_path)
    assert len(commit) == 40
    (tmp_path / "new.py").touch()
    assert read_git_revision(tmp_path) == f"{commit}-dirty"
