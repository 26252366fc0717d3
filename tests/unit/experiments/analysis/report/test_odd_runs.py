"""The page is made for any run: each part of it, or the reason why the part is left out."""

import re
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from unit.experiments.analysis.report.odd_runs import Record, config_of, set_config, write_run

from experiments.analysis import half_life
from experiments.analysis.report import write_report
from experiments.analysis.report.absence import AbsentError, part_or_reason
from experiments.analysis.report.material import gather
from experiments.analysis.report.page import Part, _part, render
from fedmeta_flwr.data.split import SplitError

ALL = {"episodes", "features", "pictures"}
GONE = "no.such.module:Thing"
NO_MODULE = r"expected a module that can be imported, .* found 'no\.such\.module:Thing'"


def forget(*keys: str) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        for key in keys:
            record.pop(key)

    return change


def spoil(record: Record) -> None:
    record |= {"machine": None, "split": None, "backdoor_key": 3}


ODD: dict[str, tuple[dict[str, Any], dict[str, Any], set[str], str]] = {
    # settings of the run, what happened to it, what is left out of its page, and a reason
    "sound": ({}, {}, set(), ""),
    "fewer classes than matching-way": (
        {"matching_way": 20},
        {},
        {"defense"},
        "matching-way = 20 asks for more classes than the 10 of client 1",
    ),
    "no attack": ({"attack_round": 0}, {}, {"episodes", "features"}, "there was no attack"),
    "no evaluation": ({"evaluate_every": 0}, {}, set(), ""),
    "one round": (
        {"num_server_rounds": 1, "pretrain_rounds": 0, "attack_round": 1},
        {"models": False},
        {"episodes", "features"},
        "no before-attack.safetensors beside the result file .the run begins with its attack",
    ),
    "two clients": ({"num_clients": 2, "quorum": 1}, {}, set(), ""),
    "defended federation": ({"defense": "federation"}, {}, {"episodes", "features"}, "an attention of its own"),
    "aborted in round 1": (
        {},
        {"rounds": 0, "status": None, "models": False},
        {"episodes", "features"},
        "the round of the attack, 3, is not in the result file",
    ),
    "failed": (
        {},
        {"rounds": 2, "status": "failed: QuorumError: none of /home/rosalind/secret/x", "models": False},
        {"episodes", "features"},
        "the round of the attack, 3, is not",
    ),
    "without models": ({}, {"models": False}, {"episodes", "features"}, "no before-attack.safetensors"),
    "strategy gone": ({}, {"change": set_config(strategy=GONE)}, set(), ""),
    "adversary gone": ({}, {"change": set_config(adversary=GONE)}, set(), ""),
    "poisoning gone": ({}, {"change": set_config(poisoning=GONE)}, set(), ""),
    "arrival model gone": ({}, {"change": set_config(arrival_model=GONE)}, set(), ""),
    "client gone": ({}, {"change": set_config(client=GONE)}, {"episodes", "features"}, f"client: {NO_MODULE}"),
    "embedding gone": ({}, {"change": set_config(embedding=GONE)}, {"episodes", "features"}, f"embedding: {NO_MODULE}"),
    "attention gone": ({}, {"change": set_config(attention=GONE)}, {"defense"}, f"attention: {NO_MODULE}"),
    "dataset gone": ({}, {"change": set_config(dataset=GONE)}, ALL, f"dataset: {NO_MODULE}"),
    "dataset fails": (
        {},
        {"change": set_config(dataset="unit.custom_objects:lost_images")},
        ALL,
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '…/images.npy'",
    ),
    "dataset is another": ({}, {"change": set_config(strokes_seed=1)}, ALL, "their fingerprints differ"),
    "key gone": ({}, {"change": set_config(backdoor_key=GONE)}, {*ALL, "key"}, f"backdoor-key: {NO_MODULE}"),
    "key file gone": (
        {},
        {"change": set_config(backdoor_key="/home/rosalind smith/secret/key.png")},
        {*ALL, "key"},
        r"found no file …/key\.png",
    ),
    "a key that changes nothing": ({}, {"change": set_config(key_intensity=0.001)}, set(), ""),
    "settings of another version": (
        {},
        {"change": set_config(later=1)},
        ALL,
        "another version: later: no such setting",
    ),
    "a record without details": ({}, {"change": forget("machine", "split", "versions", "backdoor_key")}, set(), ""),
    "a spoilt record": ({}, {"change": spoil}, {"environment"}, "AttributeError"),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    root = tmp_path_factory.mktemp("odd")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half_life, "monotone_fit", lambda rows: rows)  # half of a page's time, not tested here
        for number, (name, (settings, happened, _, _)) in enumerate(ODD.items()):
            folder = write_run(root / f"{number}", config_of(root / "cache", **settings), **happened)
            (material,) = gather(folder)
            found[name] = _part(material, None)
    return found


def left_out(part: Part) -> dict[str, str]:
    (view,) = part.runs
    return {name: reason for name, reason in {**view.left_out, **part.left_out}.items() if reason}


@pytest.mark.parametrize("name", ODD)
def test_of_an_odd_run_what_cannot_be_shown_is_left_out_with_the_reason(parts: dict[str, Part], name: str) -> None:
    _, _, expected, reason = ODD[name]
    found = left_out(parts[name])
    assert set(found) == expected
    assert all(re.search(reason, text) for text in found.values()), found
    assert not any("rosalind" in text or "secret" in text for text in found.values())
    (view,) = parts[name].runs
    assert bool(view.episodes) == ("episodes" not in expected)
    assert len(view.projections) == (0 if "features" in expected else 1 if "defense" in expected else 2)
    assert bool(parts[name].galleries) == ("pictures" not in expected)
    assert len(view.headings) == (0 if not view.episodes else 2 if "defense" in expected else 3)
    for episode in view.episodes:
        assert {len(tally.hits) for tally in episode.tallies} == {len(view.headings)}


def test_the_page_of_all_of_them_has_every_reason_once_in_its_place(parts: dict[str, Part]) -> None:
    page = unescape(render(list(parts.values())))
    for words in (
        "Nothing under the defense: matching-way = 20",
        "No view of the defended model: matching-way = 20",
        "No episodes: there was no attack.",
        "No pictures of Strokes, single run: the run was made by another version: later: ",
        "No pictures of Strokes, single run: backdoor-key: ",
        "No round was evaluated: there are no accuracies.",
        "The run has not ended: its file has no round yet, of 4.",
        "The run did not complete (failed: QuorumError: none of …/x): its file ends with round 2, of 4.",
        "0 of 40 attack images are changed by the key",
        "The backdoor accuracies of this run are those of clean images.",
        "40 of 40 attack images are changed by the key",
        "No environment: AttributeError",
        "of 5-way episodes with 4\nbackdoor classes 20 of 25 queries",
    ):
        assert words in page, words
    assert "rosalind" not in page
    spoilt = sum(not part.runs[0].environment for part in parts.values())
    assert spoilt == 1
    assert page.count("<summary>Environment and data</summary>") == len(parts) - spoilt


def test_an_attack_that_did_not_count_is_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", config_of(tmp_path / "cache"))
    file = folder / "results.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[3] = lines[3].replace('"partition_id": 0', '"partition_id": 3').replace("straggler", "abstained")
    lines[3] = re.sub(r'("dropped": \[\{"partition_id": )\d', r"\g<1>0", lines[3])
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    page = write_report(folder, None, None).read_text(encoding="utf-8")
    assert "The attack of round 3 did not count: abstained." in page


def test_a_part_is_made_or_its_reason_shown_without_folders() -> None:
    def fail(error: BaseException) -> None:
        raise error

    assert part_or_reason(lambda: 3, None) == (3, "")
    for error, reason in (
        (AbsentError("there was none."), "there was none"),
        (SplitError("expected 3 in /home/rosalind/photos/cats, found 2"), "expected 3 in …/cats, found 2"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("in '/home/rosalind smith/photos'"), "ValueError: in '…/photos'"),
    ):
        assert part_or_reason(partial(fail, error), (), "/home/rosalind smith/photos") == ((), reason)
    with pytest.raises(KeyboardInterrupt):
        part_or_reason(partial(fail, KeyboardInterrupt()), None)


@pytest.mark.parametrize(("error", "is_logged"), [(AbsentError("none"), False), (KeyError("x"), True)])
def test_a_defect_is_logged_with_its_traceback(
    error: Exception, is_logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    part_or_reason(fail, None)
    assert [record.exc_info is not None for record in caplog.records] == [True] * is_logged
    assert ("Traceback" in caplog.text) == is_logged
