import gc
from collections.abc import Iterator

import pytest
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture(autouse=True)
def server_identity() -> Iterator[None]:
    """Messages can only be built inside a task; Flower sets this when it starts a ServerApp."""
    known = vars(TaskIdentity).copy()
    gc.freeze()  # QFedAvg and Bulyan collect garbage for every reply: with torch loaded, 0.1 s each
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 1
    yield
    for name in ("_task_id", "_run_id", "_node_id"):
        setattr(TaskIdentity, name, known[name])
