"""`FakeApi` behind HTTPS on loopback, and a pod's service account for it: for what needs real connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from issuer_job.cluster.api import Response, Unreachable
from tests.fakes.acme_ca import FakeCA
from tests.fakes.api import FakeApi
from tests.fakes.serving import served


@dataclass(frozen=True)
class ServedApi:
    """Where it listens, the CA of its certificate, and what came in so far."""

    api: FakeApi
    host: str
    port: int
    ca_pem: bytes
    headers: list[Message]
    """Of every request."""
    connections: list[object]
    """The clients' addresses."""
    refusals: list[Response]
    """What the next watches get instead of a stream."""

    @property
    def url(self) -> str:
        return f"https://[{self.host}]:{self.port}" if ":" in self.host else f"https://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the kubelet sets in every container."""
        return {"KUBERNETES_SERVICE_HOST": self.host, "KUBERNETES_SERVICE_PORT": str(self.port)}

    def service_account(self, directory: Path, token: str = "a-token") -> Path:
        """Write what the kubelet mounts."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "token").write_text(token)
        (directory / "ca.crt").write_bytes(self.ca_pem)
        return directory

    def kubeconfig(self, directory: Path, token: str = "a-token") -> Path:
        """Write one with this server only."""
        (directory / "ca.crt").write_bytes(self.ca_pem)
        cluster = {"server": self.url, "certificate-authority": str(directory / "ca.crt")}
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token}}],
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config))
        return path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.headers.append(self.headers)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        try:
            if "watch=1" in self.path and not self.server.refusals:
                self._stream()
                return
            refused = self.server.refusals.pop() if "watch=1" in self.path else None
            answer = refused or self.server.api.send(self.command, self.path, body=body, timeout=5)
        except Unreachable:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in self.server.api.stream(self.path, timeout=5):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line) + 1, line + b"\n"))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, api: FakeApi) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.api = api
        self.headers: list[Message] = []
        self.connections: list[object] = []
        self.refusals: list[Response] = []
        super().__init__((host, 0), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        accepted = super().get_request()
        self.connections.append(accepted[1])
        return accepted

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave, or refuse the certificate, are part of the tests."""


@contextmanager
def served_api(api: FakeApi | None = None, host: str = "127.0.0.1") -> Iterator[ServedApi]:
    """Run it, with a CA of its own."""
    tls_ca = FakeCA("Fake Kubernetes CA")
    context = tls_ca.server_context()
    with _Server(host, api or FakeApi()) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        with served(server):
            port = server.server_address[1]
            yield ServedApi(server.api, host, port, tls_ca.pem, server.headers, server.connections, server.refusals)


class _SocketServer(_Server):
    """On a Unix socket, without TLS: as `kubectl proxy` offers the API server."""

    def __init__(self, path: Path, api: FakeApi) -> None:
        self.path = path
        super().__init__("", api)

    def server_bind(self) -> None:
        self.socket.close()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(self.path))
        self.server_name, self.server_port = "localhost", 0


@contextmanager
def socket_api(path: Path, api: FakeApi | None = None) -> Iterator[ServedApi]:
    """The same on a Unix socket."""
    with _SocketServer(path, api or FakeApi()) as server, served(server):
        yield ServedApi(server.api, "localhost", 0, b"", server.headers, server.connections, server.refusals)
