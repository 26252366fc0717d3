"""The folders of a run's cases: a result file says that all else is there."""

import json
from pathlib import Path

import pytest

from fedmeta_flwr.records.cases import case_folder, write_cases
from fedmeta_flwr.records.results import FILE_NAME, TIMES_FILE_NAME


def test_a_case_without_its_models_has_no_result_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps({"kind": "run", "config": {}}) + "\n", encoding="utf-8")
    (tmp_path / TIMES_FILE_NAME).touch()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedmeta_flwr.records.cases._write_models", killed)
        with pytest.raises(KeyboardInterrupt):
            write_cases(tmp_path, "bc")
    assert not (case_folder(tmp_path, "b", "bc") / FILE_NAME).exists()
    write_cases(tmp_path, "bc")
    assert (case_folder(tmp_path, "c", "bc") / FILE_NAME).is_file()
