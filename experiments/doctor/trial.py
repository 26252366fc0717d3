"""A trial run of two rounds, from the configuration to the result file; it must leave no process behind."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from experiments.doctor.finding import Finding

_ROUNDS = 2
_SETTINGS = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 4,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 1,
    "attack-round": 2,
    "num-server-rounds": _ROUNDS,
    "poison-outer-steps": 2,
    "meta-batch-size": 1,
    "pretrain-evaluate-every": 1,
    "evaluate-every": 1,
    "evaluate-episodes": 1,
    "registration-timeout-seconds": 600.0,  # a busy machine is not broken
}


def check_run(app_dir: Path) -> Iterator[Finding]:
    """Run the app for two rounds on one actor through the runner, in a temporary folder."""
    from experiments.runner.outcome import RunFailedError
    from experiments.runner.run import prepare, run_to_end
    from experiments.runner.simulation import simulation_size
    from experiments.runner.superlink import SuperLinkError
    from experiments.settings import load_config

    began, running = time.monotonic(), _children()
    with tempfile.TemporaryDirectory(prefix="doctor-", dir="/tmp" if Path("/tmp").is_dir() else None) as temporary:
        folders = {"results-dir": Path(temporary, "results"), "cache-dir": Path(temporary, "cache")}
        overrides = [f"{key}={value}" for key, value in _SETTINGS.items()]
        try:
            config = load_config("quickstart", overrides, folders=folders, app_dir=app_dir)
            prepare(config)
            size = simulation_size(config, 1)
            results = run_to_end(config, size, app_dir=app_dir, show=lambda *_: None)
        except (RunFailedError, SuperLinkError, ValueError) as error:
            yield Finding(
                "run", "wrong", str(error), "fix what is wrong above; if there is nothing, please report this as a bug"
            )
            return
    seconds = time.monotonic() - began
    found = f"{len(results.rounds)} rounds in {seconds:.0f} s"
    if left := _children() - running:
        names = ", ".join(f"{pid}" for pid in sorted(left))
        yield Finding("run", "wrong", f"{found}; it left processes: {names}", f"kill {names.replace(',', '')}")
    else:
        yield Finding("run", "ok", f"{found}, no process left")


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}
