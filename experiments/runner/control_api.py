"""Ask for the status of a run over the SuperLink's Control API.

`flwr ls` starts another Python for each answer, which takes seconds of CPU time. This module sends the same message,
which `fedmeta_flwr.protocol.flower_private` defines.
"""

import http.client

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from fedmeta_flwr.protocol.flower_private import LIST_RUNS_PATH, PROTOBUF, ListRunsRequest, ListRunsResponse

_ANSWER_SECONDS = 30.0


class ControlApiError(RuntimeError):
    """The Control API did not answer as expected; the message says what was found."""


def ask_status(host: str, port: int, run_id: int) -> tuple[str, str]:
    """Return a run's status as `flwr ls` words it, such as ``running`` or ``finished:completed``, and its details.

    Raises
    ------
    ControlApiError
        If there is no answer, or one without this run.
    """
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)  # never through a proxy
    try:
        question = ListRunsRequest(run_id=run_id).SerializeToString()
        connection.request("POST", LIST_RUNS_PATH, question, {"Content-Type": PROTOBUF, "Accept": PROTOBUF})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ControlApiError(f"expected an answer of Flower's SuperLink, found none ({error!r})") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise ControlApiError(f"expected an answer of Flower's SuperLink, found HTTP status {response.status}")
    return _status(content, run_id)


def _status(content: bytes, run_id: int) -> tuple[str, str]:
    try:
        runs = ListRunsResponse.FromString(content).run_dict
    except DecodeError as error:
        raise ControlApiError(f"expected a list of runs from Flower's SuperLink, found {content[:60]!r}") from error
    if run_id not in runs:
        raise ControlApiError(f"expected run {run_id} in the answer of Flower's SuperLink, found {sorted(runs)}")
    status = runs[run_id].status
    return ":".join(filter(None, (status.status, status.sub_status))), status.details
