import gc

import pytest


@pytest.fixture(autouse=True)
def server_identity(task_identity: None) -> None:
    """Let every test here build messages."""
    gc.freeze()  # QFedAvg and Bulyan collect garbage for every reply: with torch loaded, 0.1 s each
