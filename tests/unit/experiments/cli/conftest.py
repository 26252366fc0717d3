import pytest

from fedmeta_flwr.apps import preflight


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time and disk: drawing the dataset, and what needs it."""
    monkeypatch.setattr(preflight, "load_scenario", lambda config: None)
    monkeypatch.setattr(preflight, "check_key", lambda config, scenario: "")
    monkeypatch.setattr(preflight, "starting_point", lambda config, scenario: ({}, 1))
