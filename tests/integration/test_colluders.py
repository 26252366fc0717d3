"""Several adversaries of one federation, through the whole app, claims and report."""

from pathlib import Path
from typing import Any

import pytest

from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.collection import collect
from experiments.analysis.report import write_report
from experiments.analysis.table import missed_attack
from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.data.roles import Roles
from fedmeta_flwr.records.drops import DropReason
from fedmeta_flwr.records.results import RunResults, read_results

pytestmark = pytest.mark.usefixtures("task_identity")

ATTACK, CLIENTS = 3, 7
SETTINGS: dict[str, Any] = {
    "num-clients": CLIENTS,
    "num-adversaries": 2,
    "quorum": 4,
    "attack-images": "divided",
    "strokes-classes": 80,
    "image-size": 16,
    "filters": 8,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "outer-steps": 1,
    "meta-batch-size": 1,
    "attack-round": ATTACK,
    "num-server-rounds": ATTACK + 1,
    "poison-outer-steps": 6,
    "boost-factor": 8.0,
    "pretrain-evaluate-every": 0,
    "evaluate-every": 1,
    "evaluate-episodes": 1,
    "matching-way": 6,
    "matching-steps": 1,
    "checkpoint-every": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module", params=[(0, 1), (3, 5)], ids=["first", "elsewhere"])
def adversaries(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Return who they are: the first partitions, or others, which only `Roles` gets."""
    who: tuple[int, int] = request.param
    return who


@pytest.fixture
def root(adversaries: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def roles(num_adversaries: int, *, num_clients: int, divides_attack_images: bool = False) -> Roles:
        assert num_adversaries == 2
        return Roles(num_clients, frozenset(adversaries), divides_attack_images)

    monkeypatch.setattr(Roles, "with_first_adversaries", roles)
    folder = tmp_path / "strokes" / "quick" / "seed-0" / "attack-a"
    where = {"results-dir": str(folder), "cache-dir": str(tmp_path / "cache")}
    run_inline(merge_settings(read_defaults(APP_DIR), SETTINGS | where))
    return tmp_path


def results_of(root: Path) -> RunResults:
    return read_results(root / "strokes" / "quick" / "seed-0" / "attack-a")


def test_all_adversaries_attack_in_one_round_and_benign_clients_evaluate(
    root: Path, adversaries: tuple[int, int]
) -> None:
    results = results_of(root)
    assert results.end is not None
    assert results.end["status"] == "completed"
    benign = [client for client in range(CLIENTS) if client not in adversaries]
    for record in results.rounds:
        arrived = {arrival.partition_id: arrival for arrival in record.arrivals}
        abstained = [drop.partition_id for drop in record.dropped if drop.reason == DropReason.ABSTAINED]
        if record.server_round == ATTACK:
            assert tuple(arrived)[:2] == adversaries
            attacks = [arrived[client].update_norm for client in adversaries]
            assert min(attacks) > 4 * max(arrived[client].update_norm for client in benign if client in arrived)
            assert attacks[0] != attacks[1]
        else:
            assert sorted(abstained) == list(adversaries)
            assert set(arrived) <= set(benign)
        if record.evaluation is not None:
            assert [client.partition_id for client in record.evaluation] == benign
    assert missed_attack(results) == ""

    (collection,) = collect(root)
    assert judge_collection(collection).answers
    page = write_report(root, root / "report.html", None).read_text(encoding="utf-8")
    assert f"Episode 0 of client {benign[0]}" in page
    norms = " and ".join(
        f"{arrival.update_norm:.3g}"
        for arrival in results.at_round(ATTACK).arrivals
        if arrival.partition_id in adversaries
    )
    assert f"attack {norms} in round {ATTACK}" in page
