"""A SuperLink is asked as `flwr ls` asks it.

Where the first of these tests fails after an upgrade of Flower: flwr/cli/ls.py shows how `flwr ls` asks now, and
flwr/supercore/control and flwr/superlink/routers/control with which path, media type and messages; these belong into
`fedmeta_flwr.protocol.flower_private`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from flwr.cli.run_utils import format_runs
from flwr.common.serde import run_from_proto
from flwr.proto.run_pb2 import Run, RunStatus
from flwr.supercore.control import ControlHttpClient

from experiments.runner.control_api import ControlApiError, ask_status
from fedmeta_flwr.protocol.flower_private import ListRunsRequest, ListRunsResponse

RUN_ID = 2**63 - 1


@dataclass
class Server:
    """Replaces the SuperLink: records what it is asked, and always gives the same answer."""

    port: int = 0
    answer: bytes = b""
    code: int = 200
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.append((self.path, self.headers["Content-Type"], content))
            self.send_response(made.code)
            self.send_header("Content-Length", str(len(made.answer)))
            self.end_headers()
            self.wfile.write(made.answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http_server:
        made.port = http_server.server_port
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        http_server.shutdown()
        thread.join()


def run_with(status: str, sub_status: str = "", details: str = "") -> bytes:
    run = Run(run_id=RUN_ID, status=RunStatus(status=status, sub_status=sub_status, details=details))
    answer = ListRunsResponse(run_dict={RUN_ID: run}, now="2025-01-01T00:00:00+00:00")
    return bytes(answer.SerializeToString())


@pytest.mark.parametrize("status", [("running",), ("finished", "failed", "some reason: with a colon")])
def test_it_is_asked_and_understood_as_flwr_ls_does(
    status: tuple[str, ...], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = run_with(*status)
    client = ControlHttpClient.from_server_address(f"127.0.0.1:{server.port}", True, None, [])
    answer = client.ListRuns(ListRunsRequest(run_id=RUN_ID))
    (listed,) = format_runs([run_from_proto(run) for run in answer.run_dict.values()], answer.now)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a request to this machine takes no proxy
    found = ask_status("127.0.0.1", server.port, RUN_ID)
    assert server.asked[0] == server.asked[1]
    assert (found[0], found[1] or "N/A") == (listed.status_text, listed.details)


def test_what_does_not_answer_as_a_superlink_does_is_reported(server: Server) -> None:
    server.answer = ListRunsResponse().SerializeToString()
    with pytest.raises(ControlApiError, match=rf"expected run {RUN_ID} in the answer"):
        ask_status("127.0.0.1", server.port, RUN_ID)
    server.answer = b"<html>"
    with pytest.raises(ControlApiError, match=r"expected a list of runs from Flower's SuperLink, found b'<html>'"):
        ask_status("127.0.0.1", server.port, RUN_ID)
    server.code = 415
    with pytest.raises(ControlApiError, match="found HTTP status 415"):
        ask_status("127.0.0.1", server.port, RUN_ID)
    with pytest.raises(ControlApiError, match="expected an answer of Flower's SuperLink, found none"):
        ask_status("127.0.0.1", 9, RUN_ID)
