"""What the page says of a run whose images or models are missing."""

from pathlib import Path

import pytest
from conftest import default_values

from experiments.analysis.report.material import gather
from experiments.analysis.report.witness import AbsentError, scenario_of
from fedmeta_flwr.records.writer import ResultsWriter


@pytest.mark.parametrize("given", ["bob/data", "data"])
def test_only_the_last_part_of_folders_without_the_images_is_shown(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = tmp_path / "alice" / "private" / "omniglot"
    config = default_values() | {"dataset": "omniglot", "data-dir": str(recorded), "cache-dir": str(tmp_path / "cache")}
    with ResultsWriter(tmp_path / "run") as writer:
        writer.write_run({"config": config})
        writer.write_end("completed", 1.0)
    (material,) = gather(tmp_path / "run")
    (run,) = material.runs
    with pytest.raises(AbsentError) as caught:
        scenario_of(run, Path(given))
    assert "…/omniglot" in str(caught.value)
    assert "in data-dir …/data," in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
