"""Jobs side by side without Ray: a forked process for each, which has imported the app already."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from integration.in_process_app import ForkedRun

from experiments.runner.pool import Settings
from experiments.runner.simulation import SimulationSize


class ForkedPool:
    """Stands in for `experiments.runner.pool.ray_pool`: the same app and files, a second for a small run."""

    def __init__(self, slots: int, folder: Path) -> None:
        self.slots = slots
        self.most_at_once = 0
        self._errors = folder
        self._runs: dict[str, ForkedRun] = {}

    def start(self, settings: Settings, git_revision: str) -> None:
        folder = str(settings["results-dir"])
        self._runs[folder] = ForkedRun(settings, self._file_of(folder), git_revision, run_id=1)
        self.most_at_once = max(self.most_at_once, len(self._runs))

    def ended(self, seconds: float) -> dict[str, str | None]:
        deadline = time.monotonic() + seconds
        while True:
            codes = {folder: code for folder, run in self._runs.items() if (code := run.poll()) is not None}
            if codes or time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        for folder in codes:
            del self._runs[folder]
        return {folder: self._file_of(folder).read_text() if code else None for folder, code in codes.items()}

    def end(self) -> None:
        for run in self._runs.values():
            psutil.Process(run.pid).kill()
            run.wait()

    def _file_of(self, folder: str) -> Path:
        return self._errors / folder.replace("/", "_")[-100:]


@contextmanager
def forked_pool(size: SimulationSize, jobs: int | None, *, root: Path, app_dir: Path) -> Iterator[ForkedPool]:
    with tempfile.TemporaryDirectory() as folder:
        pool = ForkedPool(size.actors, Path(folder))
        try:
            yield pool
        finally:
            pool.end()
