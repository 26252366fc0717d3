"""The runner with a real `flwr run` on Ray: how it ends, and what it leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from experiments.runner.processes import Descendants
from experiments.settings import APP_DIR

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAUGHTY = "a b=c \"d\" 'e' \\ é"
LONGEST_END_SECONDS = 40  # seconds on an idle machine; Ray's actors need one core each to say goodbye

CLIENT_APP = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    return Message(RecordDict({"origin": ConfigRecord({"file": __file__})}), reply_to=message)
"""

SERVER_APP = """
import os
import time
from pathlib import Path

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import ServerApp

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.failure import failure_recorded
from fedmeta_flwr.records.results import CURVES, ResultsError, RoundRecord
from fedmeta_flwr.records.writer import ResultsWriter

app = ServerApp()
COUNTS = {curve: Counts([3], [4]) for curve in CURVES}


@app.main()
def main(grid, context):
    config = RunConfig.parse(context.run_config)
    with failure_recorded(Path(config.results_dir), context.run_id):
        run(config, grid)


def run(config, grid):
    if config.data_dir.endswith("user-error"):
        raise ResultsError("the stand-in app found nothing to write to")
    if config.data_dir.endswith("defect"):
        raise ZeroDivisionError("the stand-in app has a defect")
    queries = [Message(RecordDict(), node, MessageType.QUERY) for node in grid.get_node_ids()]
    origins = {reply.content["origin"]["file"] for reply in grid.send_and_receive(queries)}
    with ResultsWriter(Path(config.results_dir)) as writer:
        seen = {"replies": len(queries), "server": __file__, "clients": sorted(origins)}
        seen["environment"] = dict(os.environ)
        writer.write_run({"config": config.to_run_config(), "seen": seen})
        for number in range(1, config.num_server_rounds + 1):
            time.sleep(0.05)
            evaluation = [ClientEvaluation(1, COUNTS)] if config.is_evaluated(number) else None
            writer.write_round(RoundRecord(number, config.phase(number), evaluation=evaluation, seconds=0.05))
        writer.write_end("completed", 1.0)
"""


@dataclass
class Runner:
    """A runner that has not ended, and the processes that it has started."""

    process: "subprocess.Popen[str]"
    descendants: Descendants
    results_dir: Path
    temporary: Path

    def wait_for_results(self) -> None:
        """Wait for the first round."""
        file = self.results_dir / "results.jsonl"
        while not (file.is_file() and '"kind": "round"' in file.read_text(encoding="utf-8")):
            assert self.process.poll() is None, f"ended before its first round: {self.process.communicate()}"
            time.sleep(0.1)

    def assert_nothing_is_left(self) -> None:
        assert self.descendants.look() == set()
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def app_dir(tmp_path: Path) -> Path:
    """A Flower App with the real settings and the smallest of parts."""
    folder = tmp_path / "app"
    package = folder / "standin"
    package.mkdir(parents=True)
    settings = (APP_DIR / "pyproject.toml").read_text(encoding="utf-8")
    for part in ("server", "client"):
        assert f"fedmeta_flwr.apps.{part}:app" in settings
        settings = settings.replace(f"fedmeta_flwr.apps.{part}:app", f"standin.{part}_app:app")
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    for name in ("README.md", "LICENSE", "standin/__init__.py"):
        (folder / name).touch()
    (package / "client_app.py").write_text(CLIENT_APP, encoding="utf-8")
    (package / "server_app.py").write_text(SERVER_APP, encoding="utf-8")
    return folder


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A folder with another package of the app's name, which must not run."""
    package = tmp_path / "decoy" / "standin"
    package.mkdir(parents=True)
    for name in ("__init__", "server_app", "client_app"):
        (package / f"{name}.py").write_text("raise RuntimeError('the decoy was imported')\n", encoding="utf-8")
    return package.parent


@pytest.fixture
def start(app_dir: Path, decoy: Path) -> Iterator[Callable[..., Runner]]:
    """Start a runner in the decoy's folder; end it, also if the test fails."""
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # short: Ray's sockets lie below it
    runners: list[Runner] = []
    ended = threading.Event()

    def start_runner(*arguments: str) -> Runner:
        name = f"out-{len(runners)}"
        command = [sys.executable, "-m", "experiments", "run", "quickstart", "--app", str(app_dir), "--actors", "2"]
        command += ["-c", "pretrain-rounds=3", "-c", "attack-round=4"]  # whatever the quickstart has
        settings = ("-c", "device=cpu", "-c", f"cache-dir={decoy / 'cache'}", "--results-dir", name)
        process = subprocess.Popen(
            [*command, *settings, *arguments],
            cwd=decoy,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": f"{APP_DIR}{os.pathsep}{decoy}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        runners.append(Runner(process, Descendants(process.pid), decoy / name, temporary))
        threading.Thread(target=watch, args=(runners[-1],), daemon=True).start()
        return runners[-1]

    def watch(runner: Runner) -> None:
        while not ended.wait(0.1):
            runner.descendants.look()

    yield start_runner
    ended.set()
    for runner in runners:
        runner.descendants.end(grace_seconds=20)
        runner.process.communicate()
    shutil.rmtree(temporary)


@pytest.mark.long
def test_two_runs_at_once_complete_with_0_and_run_the_submitted_code(start: Callable[..., Runner]) -> None:
    settings = ("-c", f"data-dir={NAUGHTY}", "-c", "num-server-rounds=24")
    runners = [start(*settings, "-c", f"num-clients={nodes}", "-c", f"seed={nodes}") for nodes in (5, 6)]
    outputs = [runner.process.communicate(timeout=600) for runner in runners]
    for nodes, runner, (output, errors) in zip((5, 6), runners, outputs, strict=True):
        assert (runner.process.returncode, errors) == (0, "")
        assert "round 24/24" in output
        assert "at the end" in output
        assert (runner.results_dir / "persistence.svg").is_file()
        assert_submitted_code_ran(runner, nodes)
        runner.assert_nothing_is_left()


def assert_submitted_code_ran(runner: Runner, nodes: int) -> None:
    run = json.loads((runner.results_dir / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    config, seen = run["config"], run["seen"]
    assert config["data-dir"] == str(runner.results_dir.parent / NAUGHTY)
    assert config["results-dir"] == str(runner.results_dir)
    assert seen["replies"] == config["num-clients"] == config["seed"] == nodes
    home = seen["environment"]["FLWR_HOME"]
    assert [file.startswith(home) for file in (seen["server"], *seen["clients"])] == [True, True]
    assert seen["environment"]["FEDMETA_GIT_REVISION"] == "unknown"


@pytest.mark.long
def test_an_app_that_fails_for_the_user_ends_with_1_and_only_its_message(start: Callable[..., Runner]) -> None:
    runner = start("-c", "data-dir=user-error")
    _, errors = runner.process.communicate(timeout=300)
    assert runner.process.returncode == 1
    assert errors == "Run failed: finished:failed: the stand-in app found nothing to write to\n"
    runner.assert_nothing_is_left()


@pytest.mark.long
def test_an_app_with_a_defect_ends_with_1_and_the_end_of_its_traceback(start: Callable[..., Runner]) -> None:
    runner = start("-c", "data-dir=defect")
    _, errors = runner.process.communicate(timeout=300)
    assert runner.process.returncode == 1
    assert "standin/server_app.py" in errors
    assert errors.endswith("ZeroDivisionError: the stand-in app has a defect\n")
    runner.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_signal_ends_a_run_in_seconds(number: signal.Signals, exit_code: int, start: Callable[..., Runner]) -> None:
    runner = start("-c", "num-server-rounds=100000")
    runner.wait_for_results()
    assert len(runner.descendants.look()) > 5  # SuperLink, simulation, Ray
    runner.process.send_signal(number)
    _, errors = runner.process.communicate(timeout=LONGEST_END_SECONDS)
    assert runner.process.returncode == exit_code
    assert "Traceback" not in errors
    runner.assert_nothing_is_left()


@pytest.mark.long  # `test_engines` has a case that is not, with the real app
def test_a_superlink_that_dies_is_noticed_and_nothing_of_its_simulation_is_left(start: Callable[..., Runner]) -> None:
    runner = start("-c", "num-server-rounds=100000")
    runner.wait_for_results()
    children = [process.pid for process in psutil.Process(runner.process.pid).children()]
    os.kill(min(children), signal.SIGKILL)  # the first that it started
    _, errors = runner.process.communicate(timeout=LONGEST_END_SECONDS)
    assert runner.process.returncode == 1
    assert "flower-superlink ended with exit code -9" in errors
    runner.assert_nothing_is_left()
