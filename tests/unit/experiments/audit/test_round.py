"""The attack round by itself is that of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from unit.small_federation import SMALL, RunConfigs, scenario_of, strokes_cache

from experiments.audit.parties import Parties
from experiments.audit.round import attack_round, begin, first_arrivals, require_auditable
from experiments.audit.tasks import poisoned_evaluation
from experiments.engines.inline import run_inline
from experiments.settings import SettingsError
from fedmeta_flwr.apps.preflight import starting_point
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    load_checkpoint,
)
from fedmeta_flwr.records.results import read_results

NEUROTOXIN = '{"neurotoxin": {"reference": "rounds"}}'
COLLUDERS = {"num_adversaries": 2, "num_clients": 6, "quorum": 4, "strokes_classes": 80, "boost_factor": 8.0}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attack_layers": NEUROTOXIN},
        {"weighting": "num-examples", "attack_layers": '{"norm-bound": {}}'},
        {**COLLUDERS, "adversary_between_attacks": "abstain"},
        {"defense": "federation", "attack_round": 4},
        {"attack": "learned-key", "attack_options": '{"steps": 2, "rate": 0.3}'},
    ],
    ids=["plain", "with memory", "weighted", "colluders", "private parts", "learned key"],
)
def test_its_models_and_counts_are_those_of_a_run(
    settings: dict[str, object], run_config: RunConfigs, tmp_path: Path
) -> None:
    common = {**SMALL, "attack_round": 3, "cache_dir": strokes_cache(tmp_path), "checkpoint_every": 0, **settings}
    common["num_server_rounds"] = common["attack_round"]
    config = run_config(**common, results_dir=str(tmp_path / "run"))
    run_inline(config.to_run_config())

    scenario = scenario_of(config)
    start, first_round = starting_point(config, scenario)
    (tmp_path / "memory").mkdir()
    parties = Parties(config, scenario, tmp_path / "memory", first_round, torch.device("cpu"))
    beginning = begin(parties, start)
    clean = parties.evaluations(config.attack_round - 1, beginning.clean)
    played = attack_round(parties, beginning)
    judges = parties if played.learned_key is None else parties.with_key(played.learned_key)
    assert (played.learned_key is not None) == (config.attack == "learned-key")
    poisoned = judges.evaluations(config.attack_round, played.poisoned)

    for name, found in ((BEFORE_ATTACK_FILE_NAME, beginning.clean), (AFTER_ATTACK_FILE_NAME, played.poisoned)):
        expected = load_checkpoint(tmp_path / "run" / name).arrays
        assert set(found) == set(expected)
        for key, array in found.items():
            assert array.tobytes() == expected[key].tobytes(), key
    record = read_results(tmp_path / "run").at_round(config.attack_round)
    assert sorted(arrival.partition_id for arrival in record.arrivals) == list(played.arrived)
    assert record.evaluation is not None
    assert [client.counts for client in poisoned] == [client.counts for client in record.evaluation]
    before = read_results(tmp_path / "run").at_round(config.attack_round - 1).evaluation
    assert before is None or [client.counts for client in clean] == [client.counts for client in before]


def test_a_curve_without_the_global_model_is_not_measured_twice_and_is_the_same(
    run_config: RunConfigs, tmp_path: Path
) -> None:
    config = run_config(**SMALL, cache_dir=str(tmp_path), step_curves="matching local-only")
    scenario = scenario_of(config)
    start, first_round = starting_point(config, scenario)
    parties = Parties(config, scenario, tmp_path, first_round, torch.device("cpu"))
    poisoned = {name: array + np.float32(0.1) for name, array in start.items()}
    clean, expected = (parties.evaluations(config.attack_round, arrays) for arrays in (start, poisoned))
    assert poisoned_evaluation(parties, poisoned, clean) == expected
    assert [client.step_curves["matching"] for client in clean] != [one.step_curves["matching"] for one in expected]


def test_a_round_that_needs_a_server_is_refused_with_all_reasons(run_config: RunConfigs) -> None:
    config = run_config(strategy="fedmedian", arrival_model="wall-clock")
    with pytest.raises(SettingsError, match=r"(?s)strategy: expected fedavg.*arrival-model: expected a model"):
        require_auditable(config)


def test_adversaries_arrive_first_and_the_quorum_is_full(run_config: RunConfigs) -> None:
    arrived = first_arrivals(run_config(), 81, range(4))
    assert len(arrived) == 3
    assert arrived[0] == 0
    assert len({first_arrivals(run_config(), server_round, range(4)) for server_round in range(1, 30)}) == 3
