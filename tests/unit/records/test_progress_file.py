import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedmeta_flwr.records.progress import FILE_NAME, Progress, ProgressFile, read_progress, remove_progress


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedmeta_flwr.records.progress._WRITE_SECONDS", 0.005)


def wait_for(folder: Path, is_there: Callable[[Progress], bool]) -> Progress:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if (found := read_progress(folder)) is not None and is_there(found):
            return found
        time.sleep(0.005)
    raise AssertionError(f"found {read_progress(folder)}")


def test_it_says_who_was_asked_and_who_has_answered_and_is_gone_at_the_end(tmp_path: Path) -> None:
    with ProgressFile(tmp_path) as file:
        assert wait_for(tmp_path, lambda now: True).stage == "preparing"
        file.begin("registering", clients=range(4))
        file.registered(4)
        file.asked(2**59)
        began = time.time()
        file.begin("training", 7, [0, 1, 2, 3])
        for client in (3, 1, 0):
            file.asked(client)
        file.answered(1)
        found = wait_for(tmp_path, lambda now: now.answered == (1,))
        assert (found.stage, found.server_round, found.clients, found.asked) == ("training", 7, (0, 1, 2, 3), (3, 1, 0))
        assert found.nodes == 4
        assert found.stage_began == found.round_began >= began
        file.begin("evaluating", 7, [1, 2])
        later = wait_for(tmp_path, lambda now: now.stage == "evaluating")
        assert later.round_began == found.round_began <= later.stage_began
    assert list(tmp_path.iterdir()) == []


def test_an_answer_to_a_question_of_an_earlier_stage_is_not_counted(tmp_path: Path) -> None:
    with ProgressFile(tmp_path) as file:
        file.begin("training", 1, [0, 1])
        file.asked(0)
        file.begin("evaluating", 1, [0, 1])
        file.answered(0)
        file.asked(0)
        file.asked(7)
        assert wait_for(tmp_path, lambda now: now.asked == (0,)).answered == ()
        file.begin("saving", 1, [0])
        file.answered(0)
        assert wait_for(tmp_path, lambda now: now.stage == "saving" and now.answered == (0,)).clients == (0,)


def test_a_file_that_cannot_be_written_costs_its_run_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    with ProgressFile(folder) as file:
        file.begin("training", 1, [0])
        time.sleep(0.02)
        assert read_progress(folder) is None
        folder.mkdir()  # as when a disk has room again
        assert wait_for(folder, lambda now: now.server_round == 1).clients == (0,)


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with ProgressFile(tmp_path):
            wait_for(tmp_path, lambda now: True)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "3",
        "{",
        "{}",
        '{"stage": "dancing"}',
        '{"stage": "training"}',
        '{"stage": "training", "clients": 3}',
        "\ud800",
    ],
)
def test_a_file_that_is_not_understood_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(text.encode(errors="surrogatepass"))
    assert read_progress(tmp_path) is None
    wrong: object = float("inf") if text == "null" else [] if text == "3" else text
    whole = vars(Progress()) | {"server_round": wrong}
    (tmp_path / FILE_NAME).write_text(json.dumps(whole), encoding="utf-8")
    assert read_progress(tmp_path) is None


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    remove_progress(tmp_path)
    remove_progress(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
