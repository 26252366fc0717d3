from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.settings import APP_DIR, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import CURVES, RoundRecord, RunResults, read_results
from fedmeta_flwr.records.writer import ResultsWriter

MakeConfig = Callable[..., RunConfig]
MakeResults = Callable[..., RunResults]

SETTINGS: dict[str, Any] = {"num-server-rounds": 8, "pretrain-rounds": 3, "attack-round": 4, "evaluate-every": 1}


@pytest.fixture
def make_config() -> MakeConfig:
    """Three rounds of pre-training, the attack in round 4, benign rounds to 8; keywords override."""

    def make(**settings: Any) -> RunConfig:
        overrides = {key.replace("_", "-"): value for key, value in settings.items()}
        return RunConfig.parse(read_defaults(APP_DIR) | SETTINGS | overrides)

    return make


@pytest.fixture
def make_results(tmp_path: Path, make_config: MakeConfig) -> MakeResults:
    """Results of rounds 1 to 8, evaluated from round 2 on.

    In round r two clients have hits of r, r + 10, r + 20 and r + 30 of 50 trials each in the four curves, so the
    accuracies are 2 r %, 2 r + 20 % and so on.
    """

    def make(*, evaluated_from: int = 2, **settings: Any) -> RunResults:
        config = make_config(**settings)
        with ResultsWriter(tmp_path / "made") as writer:
            writer.write_run({"config": config.to_run_config()})
            for number in range(1, config.num_server_rounds + 1):
                evaluation = _evaluation(number) if number >= evaluated_from else None
                writer.write_round(RoundRecord(number, config.phase(number), evaluation=evaluation, seconds=1.0))
            writer.write_end("completed", 8.0)
        return read_results(tmp_path / "made")

    return make


def _evaluation(number: int) -> list[ClientEvaluation]:
    hits = {curve: number + 10 * position for position, curve in enumerate(CURVES)}
    counts = {curve: Counts([hits[curve] - 1, 1], [25, 25]) for curve in CURVES}
    return [ClientEvaluation(client, counts) for client in (1, 2)]
