"""Flower's deployment engine on 127.0.0.1: a SuperLink and SuperNodes as separate processes, TLS, and node keys."""

import http.client
import json
import socket
import ssl
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from experiments.runner.engine import RunStatus
from experiments.runner.processes import Descendants
from experiments.runner.simulation import simulation_environment

_HOST = "127.0.0.1"
_STARTUP_SECONDS = 120.0
_COMMAND_SECONDS = 180.0  # `flwr run` packs the app, in some 10 s of CPU
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.1
_QUESTION_SECONDS = 60.0


@dataclass(frozen=True)
class NodeKey:
    """Files of a SuperNode's key pair, as OpenSSH writes them."""

    private: Path
    public: Path


def make_node_key(folder: Path, name: str) -> NodeKey:
    """Make a key pair on P-384, as ``ssh-keygen -t ecdsa -b 384`` does."""
    key = ec.generate_private_key(ec.SECP384R1())
    files = NodeKey(folder / name, folder / f"{name}.pub")
    files.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    files.public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return files


class Authority:
    """A certificate authority, whose certificate lies in a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP384R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        self.file = folder / f"{name}.crt"
        self._write(builder, self.file)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a server's certificate for 127.0.0.1, and of its private key."""
        key = ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_HOST))])
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        self._write(self._builder(subject, key).add_extension(addresses, critical=False), certificate)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def _write(self, builder: x509.CertificateBuilder, file: Path) -> None:
        file.write_bytes(builder.sign(self._key, hashes.SHA384()).public_bytes(Encoding.PEM))


@dataclass(frozen=True)
class Started:
    """A process in a separate session, its output, and the processes that it has started."""

    process: "subprocess.Popen[bytes]"
    log: Path
    descendants: Descendants

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Deployment:
    """A SuperLink that admits only registered SuperNodes, and the processes that connect to it.

    As a context manager it leaves no process behind, however the block ends.

    Parameters
    ----------
    folder : Path
        For certificates, logs, and a folder for each process with its Flower home and temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "authority")
        self._sockets = ExitStack()
        self._port = self._free_port()
        self._started: list[Started] = []

    def __enter__(self) -> Self:
        try:
            self._start_superlink()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def register(self, key: NodeKey) -> str:
        """Make a SuperNode's public key known to the SuperLink; return the node's id."""
        return str(self._flwr("supernode", "register", str(key.public))["node-id"])

    def nodes(self) -> dict[str, str]:
        """Return the status of every SuperNode that the SuperLink knows, by node id."""
        return {node["node-id"]: node["status"] for node in self._flwr("supernode", "list")["nodes"]}

    def start_supernode(
        self, name: str, key: NodeKey | None, node_config: Mapping[str, Any], authority: Authority | None = None
    ) -> Started:
        """Start a SuperNode.

        Parameters
        ----------
        name : str
            Of its folder.
        key : NodeKey or None
            None: it registers itself, as SuperNodes without a key do.
        node_config : Mapping
            Its configuration, which it reads from a file.
        authority : Authority, optional
            Whose certificates it trusts; those of the SuperLink by default.
        """
        (self.folder / name).mkdir()
        settings = self.folder / name / "node.toml"
        settings.write_text(tomli_w.dumps(node_config), encoding="utf-8")
        options = ["--superlink", f"{_HOST}:{self._port}", "--host", _HOST, "--port", str(self._free_port())]
        options += ["--root-certificates", str((authority or self.authority).file), "--node-config", str(settings)]
        if key is not None:
            options += ["--auth-supernode-private-key", str(key.private)]
        return self._spawn(name, "flower-supernode", options)

    def run(
        self, app_dir: Path, settings: Mapping[str, Any], seconds: float, may_be_over: Callable[[], bool]
    ) -> RunStatus:
        """Run an app to its end.

        A question to the SuperLink takes two seconds of CPU: `may_be_over` says when to ask one.

        Raises
        ------
        AssertionError
            If it does not end in time, with what the processes have printed.
        """
        overrides = self.folder / "overrides.toml"
        overrides.write_text(tomli_w.dumps(settings), encoding="utf-8")
        run_id = str(self._flwr("run", str(app_dir), "--run-config", str(overrides))["run-id"])
        deadline = time.monotonic() + seconds
        while not (status := self._status(run_id)).is_finished:
            assert time.monotonic() < deadline, f"the run is still {status.status}:\n{self.logs()}"
            self._wait(may_be_over)
        return status

    def logs(self) -> str:
        """Return what all processes have printed so far."""
        return "\n".join(f"----- {started.log.parent.name}\n{started.output()}" for started in self._started)

    def _wait(self, may_be_over: Callable[[], bool]) -> None:
        until = time.monotonic() + _QUESTION_SECONDS
        while time.monotonic() < until and not may_be_over():
            time.sleep(_POLL_SECONDS)
            for started in self._started:
                started.process.poll()  # until one that has ended is asked for, its SuperExec takes it for alive

    def _status(self, run_id: str) -> RunStatus:
        run = self._flwr("ls", "--run-id", run_id)["runs"][0]
        return RunStatus(run["status"], run["status-details"])

    def _start_superlink(self) -> None:
        (self.folder / "superlink").mkdir()
        certificate, private = self.authority.issue("superlink")
        options = ["--host", _HOST, "--port", str(self._port), "--enable-supernode-auth"]
        options += ["--ssl-ca-certfile", str(self.authority.file)]
        options += ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(private)]
        superlink = self._spawn("superlink", "flower-superlink", options)
        connection = {"address": f"{_HOST}:{self._port}", "root-certificates": str(self.authority.file)}
        config = {"superlink": {"default": "test", "test": connection}}
        (self.folder / "superlink" / "home" / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        deadline = time.monotonic() + _STARTUP_SECONDS
        while not self._is_healthy():
            assert superlink.process.poll() is None, superlink.output()
            assert time.monotonic() < deadline, superlink.output()
            time.sleep(_POLL_SECONDS)

    def _spawn(self, name: str, program: str, options: list[str]) -> Started:
        folder = self.folder / name
        for inner in ("home", "empty"):
            (folder / inner).mkdir()
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [_program(program), *options],
                env=simulation_environment(folder, "unknown"),
                cwd=folder / "empty",
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(Started(process, log, Descendants(process.pid)))
        return self._started[-1]

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        folder = self.folder / "superlink"
        result = subprocess.run(
            [_program("flwr"), *arguments, "--format", "json"],
            env=simulation_environment(folder, "unknown"),
            cwd=folder / "empty",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        with suppress(json.JSONDecodeError):
            answer: dict[str, Any] = json.loads(result.stdout)
            if answer.get("success"):
                return answer
        raise AssertionError(f"flwr {' '.join(arguments)}:\n{result.stdout}{result.stderr}\n{self.logs()}")

    def _is_healthy(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        connection = http.client.HTTPSConnection(_HOST, self._port, timeout=1, context=context)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (ConnectionError, TimeoutError):
            return False
        finally:
            connection.close()

    def _free_port(self) -> int:
        """Return a port that no other call returns; its socket stays bound, but does not listen."""
        free = self._sockets.enter_context(socket.socket())
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((_HOST, 0))
        return int(free.getsockname()[1])

    def _end(self) -> None:
        self._sockets.close()
        with ExitStack() as endings:
            for started in self._started:
                started.descendants.look()
                endings.callback(started.process.wait)
                endings.callback(started.descendants.end, _GRACE_SECONDS)
            for started in self._started:
                started.process.terminate()


def _program(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)
