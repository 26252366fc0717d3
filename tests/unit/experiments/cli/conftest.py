from types import SimpleNamespace

import numpy as np
import pytest

from fedmeta_flwr.apps import preflight


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time and disk: drawing the dataset, and what needs it."""
    scenario = SimpleNamespace(key=SimpleNamespace(pattern=np.zeros((1, 28, 28))))
    monkeypatch.setattr(preflight, "load_scenario", lambda config: scenario)
    monkeypatch.setattr(preflight, "check_key", lambda config, scenario: "")
    monkeypatch.setattr(preflight, "starting_point", lambda config, scenario: ({}, 1))
