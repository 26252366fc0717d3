"""The real app with clients that fail on command, and a way to run it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
from integration.in_process_app import run_in_process
from integration.kill_trials import SETTINGS

from experiments.settings import APP_DIR, merge_settings, read_defaults

FAULTY_APP = '''
"""The real ClientApp, behind what FEDMETA_TEST_FAULTS says goes wrong: a JSON list of [round, partition, fault]."""

import json
import os
import signal
import time
from pathlib import Path

from flwr.app import MessageType
from flwr.clientapp import ClientApp

from fedmeta_flwr.apps.client import app as real
from fedmeta_flwr.protocol.messages import message_config


class Faulty(ClientApp):
    def __call__(self, message, context):
        faults = json.loads(Path(os.environ["FEDMETA_TEST_FAULTS"]).read_text())
        server_round = message_config(message).get("server-round")
        for number, partition, fault in faults:
            is_training = message.metadata.message_type == MessageType.TRAIN
            if is_training and (number, partition) == (server_round, context.node_config["partition-id"]):
                fail(fault)
        return real(message, context)


def fail(fault):
    if fault == "raise":
        raise ValueError("the client has run out of luck")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(fault)


app = Faulty()
'''


class FaultyRuns:
    """Runs of one configuration into one folder, undisturbed and disturbed.

    Parameters
    ----------
    folder : Path
        Empty; receives all files but the results.
    results_dir : Path
        Folder of the results.
    **settings
        Above those of the kill trials.
    """

    def __init__(self, folder: Path, results_dir: Path, **settings: Any) -> None:
        self.results_dir = results_dir
        self._folder = folder
        overrides = SETTINGS | {"cache-dir": str(folder / "cache")} | settings
        self._config = folder / "config.toml"
        self._config.write_text(tomli_w.dumps(overrides), encoding="utf-8")
        self._settings = merge_settings(read_defaults(APP_DIR), overrides | {"results-dir": str(results_dir)})
        self._app_dir = _faulty_app(folder / "app")
        self._environment = {**os.environ, "FEDMETA_TEST_FAULTS": str(folder / "faults.json")}

    def reference(self, run: Callable[[dict[str, Any]], object] = run_in_process) -> dict[str, bytes]:
        """Return what an undisturbed run writes, made without Ray by `run`; its files are removed again."""
        run(self.settings())
        written = self.written()
        for path in self.results_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return written

    def settings(self) -> dict[str, Any]:
        """Return the complete run config."""
        return dict(self._settings)

    def written(self) -> dict[str, bytes]:
        """Return the files that two runs of a configuration have in common."""
        return {name: (self.results_dir / name).read_bytes() for name in ("results.jsonl", "model.safetensors")}

    def start(self, *options: str, faults: list[Any] | None = None) -> "subprocess.Popen[str]":
        """Start the runner, with faults as ``[round, partition, fault]``: "raise", "die", or seconds of silence."""
        (self._folder / "faults.json").write_text(json.dumps(faults or []), encoding="utf-8")
        command = [sys.executable, "-m", "experiments", "run", str(self._config), "--quiet", "--app"]
        command += [str(self._app_dir), "--results-dir", str(self.results_dir), *(options or ("--actors", "2"))]
        return subprocess.Popen(
            command,
            env=self._environment,
            cwd=APP_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, faults: list[Any] | None = None) -> tuple[int, str]:
        """Run to the end; return the exit code and the standard error output."""
        process = self.start(*options, faults=faults)
        _, errors = process.communicate(timeout=300)
        return process.returncode, errors


def copy_app(folder: Path) -> Path:
    """Copy the app without what surrounds it in a checkout, which Flower takes 9 s of CPU to go through."""
    folder.mkdir()
    for name in ("fedmeta_flwr", "strategies", "clients"):
        shutil.copytree(APP_DIR / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(APP_DIR / name, folder)
    return folder


def _faulty_app(folder: Path) -> Path:
    """Make an app of the real parts with the faulty clients."""
    settings = (copy_app(folder) / "pyproject.toml").read_text(encoding="utf-8")
    changed = settings.replace('clientapp = "fedmeta_flwr.apps.client:app"', 'clientapp = "faulty:app"')
    (folder / "pyproject.toml").write_text(changed, encoding="utf-8")
    (folder / "faulty.py").write_text(FAULTY_APP, encoding="utf-8")
    return folder
