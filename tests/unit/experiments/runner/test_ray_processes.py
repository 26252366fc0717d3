from pathlib import Path

import pytest

from experiments.runner.ray_processes import is_complete
from fedmeta_flwr.records.writer import ResultsWriter


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_run_is_complete_if_its_results_say_so(status: str, tmp_path: Path) -> None:
    assert not is_complete(tmp_path)
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
        assert not is_complete(tmp_path)
        writer.write_end(status, 1.0)
    assert is_complete(tmp_path) == (status == "completed")
