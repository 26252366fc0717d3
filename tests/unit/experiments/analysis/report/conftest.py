from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.analysis import half_life
from experiments.analysis.report import page, write_report
from experiments.analysis.report.absence import AbsentError


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Return a function that gives the page of a results root, without what takes long: plotly, images, half-lives."""
    monkeypatch.setattr(page, "get_plotlyjs", lambda: "")
    monkeypatch.setattr(page, "_scenario", lambda run, data_dir: AbsentError("no images in this test"))
    monkeypatch.setattr(half_life, "monotone_fit", lambda rows: rows)
    return lambda root: write_report(root, None, None).read_text(encoding="utf-8")
