"""What Flower and Ray do not document is as it was, and is used by way of one module only.

Each test says where to look when it fails after an upgrade.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from conftest import ROOT
from flwr.app import Message, MessageType, RecordDict
from flwr.clientapp.client_app import ClientAppException
from flwr.server.superlink.fleet.vce import vce_api
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping
from flwr.simulation import app as simulation_app
from flwr.simulation.ray_transport import ray_actor
from flwr.supernode.runtime import run_clientapp
from ray._private import ray_constants, services, worker
from ray._private.runtime_env import uv_runtime_env_hook

from experiments.runner.simulation import simulation_environment
from fedmeta_flwr.protocol import flower_private
from fedmeta_flwr.protocol.flower_private import (
    CHECKED_VERSIONS,
    CLASS_MARK,
    CLIENT_EXCEPTION,
    DEAD_ACTOR,
    SIMULATION_FAILED,
    TEXT_MARK,
    UV_RUN,
    TaskIdentity,
    default_ports,
    overwrite_metadata,
    ray_settings,
)

PUBLIC = {
    "flwr.app",
    "flwr.client",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.common",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "ray",
    "ray.cluster_utils",
}
COMPARED_IN = {
    "fedmeta_flwr/protocol/flower_private.py",
    "tests/unit/protocol/test_flower_private.py",
    "tests/unit/experiments/runner/test_control_api.py",
}
FOLDERS = ("fedmeta_flwr", "clients", "strategies", "experiments", "examples", "mkdocs_hooks", "tests")


@pytest.mark.parametrize("package", sorted(CHECKED_VERSIONS))
def test_this_is_the_version_that_was_looked_at(package: str) -> None:
    assert version(package) == CHECKED_VERSIONS[package], (
        f"{package} has another version: where the other tests of this file and "
        f"tests/unit/experiments/runner/test_control_api.py pass, write it into flower_private.CHECKED_VERSIONS; "
        f"where one fails, it says which of Flower's files to read"
    )


def imports() -> Iterator[tuple[str, str, str]]:
    """Return the file, module and name of each import from Flower or Ray."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from ((file, alias.name, "") for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield from ((file, node.module, alias.name) for alias in node.names)


def test_nothing_private_is_imported_elsewhere() -> None:
    private = []
    for file, module, name in imports():
        if module.partition(".")[0] not in ("flwr", "ray") or file in COMPARED_IN:
            continue
        is_module = f"{module}.{name}".removesuffix(".") in PUBLIC
        is_named = module in PUBLIC and name in vars(importlib.import_module(module)).get("__all__", [name])
        if not (is_module or is_named):
            private.append(f"{file}: {module}.{name}")
    assert private == [], "import it by way of fedmeta_flwr.protocol.flower_private, and compare it in this file"


def test_of_ray_only_what_it_exports_is_used() -> None:
    exported = importlib.import_module("ray").__all__
    for path in sorted((ROOT / "experiments" / "engines").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ray":
                assert node.attr in exported, f"{path}: ray.{node.attr}"


def test_an_engine_gives_nodes_and_errors_what_flowers_simulation_gives_them() -> None:
    source = inspect.getsource(vce_api)
    assert "PARTITION_ID_KEY: partition_id,\n                NUM_PARTITIONS_KEY: num_partitions," in source
    assert "e_code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION" in source
    assert "raise ClientAppException(str(ex)) from ex" in inspect.getsource(ray_actor), "see engines/answering.py"


def test_ray_takes_its_own_address_for_the_machines_other_one_as_it_did() -> None:
    assert isinstance(ray_constants.ENABLE_RAY_CLUSTER, bool)
    source = inspect.getsource(services.get_node_ip_address)
    assert "if not ray_constants.ENABLE_RAY_CLUSTER:" in source, "see ray/_private/services.py, and ray_session.py"
    assert "get_node_ip_address()" in inspect.getsource(services.resolve_ip_for_localhost)
    with ray_settings(one_machine=True):
        assert services.canonicalize_bootstrap_address("127.0.0.1:6379") == "127.0.0.1:6379"


def test_ray_would_start_its_processes_by_uv_run_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_constants, UV_RUN, True)  # Flower's simulation, which this file imports, turns it off
    monkeypatch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: ["uv", "run", "python"])
    assert "py_executable" in worker._maybe_modify_runtime_env({"working_dir": str(ROOT)}, False), (
        "see ray/_private/worker.py"
    )
    with ray_settings(one_machine=False):
        assert worker._maybe_modify_runtime_env({}, False) == {}
    assert simulation_environment(ROOT, "unknown")[UV_RUN] == "0"
    assert f'{UV_RUN} = env_bool("{UV_RUN}", True)' in inspect.getsource(ray_constants)


def test_names_of_the_module_are_there() -> None:
    assert all(hasattr(flower_private, name) for name in flower_private.__all__)


def test_a_clients_exception_is_worded_as_it_was() -> None:
    assert str(ClientAppException("no such class: 9")).strip() == f"{CLIENT_EXCEPTION}no such class: 9", (
        "see ClientAppException in flwr/clientapp/client_app.py, and strategies/transport/replies.py"
    )


@pytest.mark.parametrize("module", [vce_api, run_clientapp], ids=["simulation", "SuperNode"])
def test_an_error_names_class_and_text_as_it_did(module: object) -> None:
    source = inspect.getsource(module)  # type: ignore[arg-type]
    assert 'str(type(ex)) + ":<\'" + str(ex) + "\'>"' in source, f"see how {module} words the reason of an error"
    assert str(ValueError).startswith(CLASS_MARK)
    assert f"{ValueError!s}:<'text'>".find(TEXT_MARK) == len(str(ValueError)) - 1


@pytest.mark.parametrize("name", DEAD_ACTOR)
def test_a_dead_actor_is_named_as_it_was(name: str) -> None:
    exceptions = importlib.import_module("ray.exceptions")
    kind = getattr(exceptions, name.rpartition(".")[2])
    assert f"{kind.__module__}.{kind.__name__}" == name, "see ray/exceptions.py"


def test_a_simulation_fails_with_the_message_that_is_searched_for() -> None:
    assert SIMULATION_FAILED in inspect.getsource(simulation_app), "see the details of a failed run"


def test_plain_flwr_run_wants_two_ports() -> None:
    assert default_ports() == (39091, 39093), "see flwr/cli/constant.py"


def test_a_grid_has_a_run() -> None:
    assert inspect.signature(Grid.set_run).parameters["run"].annotation in (flower_private.Run, "Run")
    assert isinstance(Grid.run, property), "see flwr/serverapp/grid.py, and strategies/transport/grid.py"


def test_the_strategy_for_fixed_clipping_prepares_its_accounting() -> None:
    method = getattr(DifferentialPrivacyClientSideFixedClipping, "_prepare_accounting", None)
    assert callable(method), "see flwr/serverapp/strategy/dp_fixed_clipping.py"
    assert list(inspect.signature(method).parameters) == ["self", "server_round", "messages"]


@pytest.mark.usefixtures("task_identity")
def test_metadata_of_a_message_can_be_overwritten() -> None:
    message = Message(RecordDict(), dst_node_id=3, message_type=MessageType.QUERY)
    overwrite_metadata(message, message_id="id", reply_to_message_id="other", message_type="train")
    metadata = message.metadata
    assert (metadata.message_id, metadata.reply_to_message_id, metadata.message_type) == ("id", "other", "train"), (
        "see Metadata in flwr/app/metadata.py"
    )
    with pytest.raises(AttributeError, match=r"expected one of .*_message_id.*, found _colour"):
        overwrite_metadata(message, colour="red")


@pytest.mark.usefixtures("task_identity")
def test_a_message_says_who_sent_it_as_the_task_says() -> None:
    message = Message(RecordDict(), dst_node_id=3, message_type=MessageType.QUERY)
    assert (message.metadata.run_id, message.metadata.src_node_id) == (TaskIdentity.run_id, TaskIdentity.node_id), (
        "see flwr/supercore/task_identity.py"
    )
