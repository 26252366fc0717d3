"""Compiled code is kept by content: a copy of the app uses it, and a changed app does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
_CALL = """
import numpy as np
from fedmeta_flwr.learning.kernels import gather_windows
windows = np.zeros((1, 1, 1, 3, 3, 8), np.float32)
gather_windows(np.ones((1, 2, 2, 8), np.float32), windows)
print(int(windows.sum()))
"""


def call(app: Path, cache: Path) -> dict[Path, int]:
    """Call a kernel in another process, and return the files of compiled code, with their times of change."""
    environment = {**os.environ, "PYTHONPATH": str(app), "XDG_CACHE_HOME": str(cache)}
    process = subprocess.run(
        [sys.executable, "-P", "-c", _CALL], env=environment, cwd=app, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["32"]  # four of nine pixels lie in the image
    return {file: file.stat().st_mtime_ns for file in cache.rglob("*.nb?")}


def test_a_copy_of_the_app_uses_what_the_app_compiled_and_a_changed_one_does_not(tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(ROOT / "fedmeta_flwr", tmp_path / name / "fedmeta_flwr")
    found = call(tmp_path / "first", tmp_path / "cache")
    assert found
    assert call(tmp_path / "second", tmp_path / "cache") == found
    with (tmp_path / "second/fedmeta_flwr/learning/kernels/brain_floats.py").open("a") as file:
        file.write("# changed\n")
    assert len(call(tmp_path / "second", tmp_path / "cache")) == 2 * len(found)


def test_without_a_cache_folder_kernels_are_compiled_in_each_process(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fedmeta_flwr", tmp_path / "app" / "fedmeta_flwr")
    (tmp_path / "cache").write_text("a file, not a folder")
    assert call(tmp_path / "app", tmp_path / "cache") == {}
