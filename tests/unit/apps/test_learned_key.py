"""A key that an attack learns: from the adversary over the server to the benign clients that evaluate."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.small_federation import SMALL

from experiments.analysis.report.material import gather
from experiments.analysis.report.pictures import galleries
from experiments.analysis.report.witness import key_learnt_in, key_of, scenario_of
from experiments.engines.inline import run_inline
from experiments.runner.run import prepare
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.attacks import Attack, BackdoorKey, Turn, Upload
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.records.checkpoint import LEARNED_KEY_FILE_NAME, load_checkpoint
from fedmeta_flwr.records.results import RunResults, read_results
from fedmeta_flwr.records.writer import ResultsWriter

pytestmark = pytest.mark.usefixtures("task_identity")

SIDE = 16
TINY: dict[str, Any] = {
    "image_size": SIDE,
    "filters": 4,
    "pretrain_rounds": 0,
    "attack_round": 2,
    "num_server_rounds": 4,
    "outer_steps": 1,
    "inner_steps": 1,
    "evaluate_every": 1,
    "evaluate_inner_steps": 1,
    "evaluate_episodes": 1,
    "checkpoint_every": 1,
    "tensorboard": False,
    "attack": "unit.apps.test_learned_key:Learning",
}


def whole(shade: float) -> BackdoorKey:
    """A key that hides the image, so that all stamped images are alike."""
    return BackdoorKey(np.full((1, SIDE, SIDE), shade, np.float32), np.ones((SIDE, SIDE), np.float32))


class Learning(Attack):
    """Uploads the global model, and a key of another shade in every round."""

    def local_update(self, turn: Turn) -> Upload:
        return Upload(turn.global_arrays, 1, {"train-loss": 1.0}, whole(10.0 * turn.server_round))


class Plain(Attack):
    def local_update(self, turn: Turn) -> Upload:
        return Upload(turn.global_arrays, 1, {"train-loss": 1.0})


class Bright(Attack):
    def local_update(self, turn: Turn) -> Upload:
        return Upload(turn.global_arrays, 1, {"train-loss": 1.0}, whole(256))


def settings_of(folder: Path, **changes: Any) -> dict[str, Any]:
    where = {"cache_dir": str(folder.parent / "cache"), "results_dir": str(folder)}
    overrides = {key.replace("_", "-"): value for key, value in {**SMALL, **TINY, **where, **changes}.items()}
    return merge_settings(read_defaults(APP_DIR), overrides)


def stamped_hits(results: RunResults, server_round: int) -> list[int]:
    """Return the hits of both backdoor curves, a number for each client."""
    evaluation = results.at_round(server_round).evaluation or []
    return [client.counts[curve].hits[0] for client in evaluation for curve in ("attack_training", "attack_validation")]


def test_benign_clients_evaluate_with_the_learned_key_from_the_attack_on(tmp_path: Path) -> None:
    run_inline(settings_of(tmp_path / "run"))
    results = read_results(tmp_path / "run")
    assert [record.key_round for record in results.rounds] == [None, 2, 2, 2]
    for server_round in (2, 3, 4):  # all stamped images are alike, so each client labels them all alike
        assert set(stamped_hits(results, server_round)) <= {0, 20}
    assert not set(stamped_hits(results, 1)) <= {0, 20}
    assert not any("backdoor-key" in arrival.metrics for record in results.rounds for arrival in record.arrivals)
    stored = load_checkpoint(tmp_path / "run" / LEARNED_KEY_FILE_NAME)
    assert {name: set(array.ravel()) for name, array in stored.arrays.items()} == {"pattern": {20}, "opacity": {1}}
    assert stored.metadata["server-round"] == "2"

    run_inline(settings_of(tmp_path / "plain", attack="unit.apps.test_learned_key:Plain"))
    plain = read_results(tmp_path / "plain")
    assert not (tmp_path / "plain" / LEARNED_KEY_FILE_NAME).exists()
    assert "key_round" not in (tmp_path / "plain" / "results.jsonl").read_text(encoding="utf-8")
    assert stamped_hits(plain, 1) == stamped_hits(results, 1)
    assert results.end is not None
    assert plain.end is not None
    assert results.end["model_digest"] == plain.end["model_digest"]

    ((run,),) = (material.runs for material in gather(tmp_path / "run"))
    assert key_learnt_in(run) == 2
    assert set(key_of(run).pattern.ravel()) == {20}
    text = next(shown.text for shown in galleries(scenario_of(run, None), 2) if shown.heading == "Key")
    assert text.startswith("An adversary learnt it by round 2; ")
    assert "It covers 256 of 256 pixels" in text


@pytest.mark.parametrize(("stops_in", "stale"), [(2, 0), (3, 0), (4, 40)])
def test_a_resumed_run_evaluates_with_the_learned_key_of_its_checkpoint(
    stops_in: int, stale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"attack_interval": 2}
    run_inline(settings_of(tmp_path / "whole", **settings))
    write = ResultsWriter.write_round

    def stopped(writer: ResultsWriter, record: Any) -> None:
        if record.server_round == stops_in:
            raise KeyboardInterrupt
        write(writer, record)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ResultsWriter, "write_round", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_inline(settings_of(folder, **settings))
    if stale:  # the key of round 4 has been written, and round 4 is repeated
        assert set(load_checkpoint(folder / LEARNED_KEY_FILE_NAME).arrays["pattern"].ravel()) == {stale}
    run_inline(settings_of(folder, **settings, resume=True))
    found, expected = (
        (place / "results.jsonl").read_text(encoding="utf-8").splitlines() for place in (folder, tmp_path / "whole")
    )
    assert found[1:] == expected[1:]  # all but the settings, which name the folder
    stored = load_checkpoint(folder / LEARNED_KEY_FILE_NAME)
    assert (set(stored.arrays["pattern"].ravel()), stored.metadata["server-round"]) == ({40}, "4")
    rounds = read_results(folder).rounds
    assert [record.key_round for record in rounds] == [None, 2, 2, 4]


def test_a_run_that_starts_anew_has_no_key_of_an_earlier_one(tmp_path: Path) -> None:
    run_inline(settings_of(tmp_path / "run", num_server_rounds=2))
    kept = tmp_path / "kept"
    shutil.copy(tmp_path / "run" / LEARNED_KEY_FILE_NAME, kept)
    plain = settings_of(tmp_path / "other", attack="unit.apps.test_learned_key:Plain", num_server_rounds=2)
    (tmp_path / "other").mkdir()
    shutil.copy(kept, tmp_path / "other" / LEARNED_KEY_FILE_NAME)
    run_inline(plain)
    assert not (tmp_path / "other" / LEARNED_KEY_FILE_NAME).exists()


def test_an_attack_with_a_key_that_the_server_would_refuse_is_refused_before_anything_starts(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config(
        **{**SMALL, **TINY, "attack": "unit.apps.test_learned_key:Bright", "cache_dir": str(tmp_path / "cache")}
    )
    with pytest.raises(RegistryError, match=r"expected a key from .* with pattern in 0\.\.255"):
        prepare(config)
