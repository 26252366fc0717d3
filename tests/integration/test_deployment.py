"""The app on the deployment engine of Flower: SuperLink and SuperNodes as processes, with TLS and registered nodes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration.deployment import Authority, Deployment, Started, make_node_key
from integration.faults import copy_app
from integration.in_process_app import without_times

from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.records.results import FILE_NAME, RunResults, read_results

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CLIENTS = 3
SETTINGS = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "num-clients": CLIENTS,
    "quorum": 2,
    "num-server-rounds": 2,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "outer-steps": 1,
    "attack-round": 2,
    "poison-outer-steps": 2,
    "evaluate-every": 0,
    "registration-timeout-seconds": 300.0,
    "round-timeout-seconds": 300.0,
    "device": "cpu",
}
LONGEST_RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Deployed:
    """A finished run, and how its nodes ended."""

    folder: Path
    results: RunResults
    registered: set[str]
    nodes: dict[str, str]
    members: dict[int, Started]
    intruders: dict[str, Started]
    intruders_ended: dict[str, int | None]


def settings(server: Path) -> dict[str, Any]:
    """Return the run's settings; their folders are the server's."""
    folders = {"data-dir": server / "data", "cache-dir": server / "cache", "results-dir": server / "run"}
    return SETTINGS | {key: str(folder) for key, folder in folders.items()}


def has_ended(results_dir: Path) -> bool:
    file = results_dir / FILE_NAME
    return file.exists() and '"kind": "end"' in file.read_text(encoding="utf-8")


def node_config(folder: Path, partition_id: int) -> dict[str, Any]:
    folders = {key: str(folder / key) for key in ("data-dir", "cache-dir", "client-state-dir")}
    return {"partition-id": partition_id} | folders


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Run two rounds with three registered SuperNodes, while three others try to get in."""
    folder = tmp_path_factory.mktemp("deployment")
    with Deployment(folder) as deployment:
        keys = [make_node_key(folder, f"node-key-{number}") for number in range(CLIENTS)]
        with ThreadPoolExecutor(2) as pool:
            registered = set(pool.map(deployment.register, keys))
        members = {
            number: deployment.start_supernode(f"node-{number}", key, node_config(folder / f"disk-{number}", number))
            for number, key in enumerate(keys)
        }
        stranger = make_node_key(folder, "stranger-key")
        other = Authority(folder, "other-authority")
        config = node_config(folder / "disk-intruder", CLIENTS)
        intruders = {
            "unregistered": deployment.start_supernode("unregistered", stranger, config),
            "keyless": deployment.start_supernode("keyless", None, config),
            "distrustful": deployment.start_supernode("distrustful", keys[0], config, authority=other),
        }
        server = folder / "server"
        app_dir = copy_app(folder / "app")
        status = deployment.run(app_dir, settings(server), LONGEST_RUN_SECONDS, lambda: has_ended(server / "run"))
        assert status.is_completed, f"{status}\n{deployment.logs()}"
        results = read_results(server / "run")
        ended = {name: intruder.process.poll() for name, intruder in intruders.items()}
        yield Deployed(folder, results, registered, deployment.nodes(), members, intruders, ended)


def test_every_round_aggregates_the_quorum(deployed: Deployed) -> None:
    assert [record.server_round for record in deployed.results.rounds] == [1, 2]
    assert [len(record.arrivals) for record in deployed.results.rounds] == [2, 2]
    assert deployed.results.at_round(2).arrivals[0].partition_id == 0  # the attack


def test_the_bits_are_those_of_the_app_in_one_process(deployed: Deployed, tmp_path: Path) -> None:
    # Those are the bits of a simulation, too: see `integration.kill_trials`.
    run_inline(merge_settings(read_defaults(APP_DIR), settings(tmp_path)))
    assert without_times(deployed.results) == without_times(read_results(tmp_path / "run"))


def test_every_node_works_in_the_folders_of_its_configuration(deployed: Deployed) -> None:
    for number in deployed.members:
        assert list((deployed.folder / f"disk-{number}" / "cache-dir").glob("strokes-*/images.npy"))
    assert not (deployed.folder / "disk-intruder").exists()


def test_the_superlink_lists_only_registered_nodes(deployed: Deployed) -> None:
    assert set(deployed.nodes) == deployed.registered
    assert set(deployed.nodes.values()) == {"online"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unregistered", "Failed to activate SuperNode."),
        ("keyless", "All SuperNodes must be registered via the CLI."),
        ("distrustful", "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_an_intruder_ends_by_itself_and_says_why(name: str, reason: str, deployed: Deployed) -> None:
    assert deployed.intruders_ended[name] not in (None, 0)
    assert reason in deployed.intruders[name].output()
