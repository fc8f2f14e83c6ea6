"""A command line with a cluster in memory, for unit tests.

line = CommandLine()
line.api.add(CONFIGMAPS, "certjob", ...)
ran = line.run("status", "-n", "shop")
ran.code, ran.out, ran.err
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from issuer_job.cli.base.session import Surroundings
from issuer_job.cli.main import run
from issuer_job.cli.way.port_forward import PortForward
from issuer_job.cli.way.socket_transport import accepted
from issuer_job.cluster.api import Json, Response, Transport, api_error
from tests.fakes.api import FakeApi, status
from tests.fakes.store import PATH

PATIENCE = 20.0
NOW = datetime(2026, 11, 27, 14, 27, 10, tzinfo=UTC)


class Pipe(io.StringIO):
    """A stream; who reads it has gone once it is `broken`."""

    broken = False

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


class Terminal(Pipe):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class MetadataOnly:
    """A transport that answers as the API server does where only metadata was asked for."""

    inner: Transport

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        if answer.status >= 400 or "PartialObject" not in accepted(method, path):
            return answer
        found = msgspec.json.decode(answer.body)
        if "items" in found:
            found |= {"items": [_bare(item) for item in found["items"]]}
        else:
            found = _bare(found)
        return Response(answer.status, answer.headers, msgspec.json.encode(found))

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        lines = self.inner.stream(path, timeout=timeout)
        if "PartialObject" not in accepted("GET", path):
            yield from lines
            return
        for line in lines:
            event = msgspec.json.decode(line)
            yield msgspec.json.encode(event | {"object": _bare(event["object"])})


def _bare(item: Json) -> Json:
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": item["metadata"]}


@dataclass
class Tenant:
    """A transport for somebody who may do in `namespace` what `may` says, as "list secrets", and nothing else; but
    everybody may ask what he may do.
    """

    inner: Transport
    namespace: str
    may: set[str]

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        return self._refusal(method, path) or self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        if (refused := self._refusal("WATCH", path)) is not None:
            raise api_error(403, msgspec.json.decode(refused.body))
        return self.inner.stream(path, timeout=timeout)

    def _refusal(self, method: str, path: str) -> Response | None:
        found = PATH.fullmatch(path.partition("?")[0])
        if found is None:
            return None
        _, namespace, plural, name = found.groups()
        verb = method.lower() if method != "GET" else "get" if name else "list"
        if plural == "selfsubjectaccessreviews" or (namespace == self.namespace and f"{verb} {plural}" in self.may):
            return None
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        words = f'{plural} is forbidden: User "ann" cannot {verb} resource "{plural}" in API group "" {where}'
        return status(403, "Forbidden", words)


@dataclass
class CommandLine:
    """Runs commands on `api`. `terminal`: stdout and stderr are one. `tenant`: not as an operator, see `Tenant`."""

    api: FakeApi = field(default_factory=FakeApi)
    environment: dict[str, str] = field(default_factory=dict)
    terminal: bool = False
    context_namespace: str = ""
    tenant: tuple[str, set[str]] | None = None
    clock: Callable[[], datetime] = lambda: NOW
    out: Pipe = field(default_factory=Pipe)
    err: Pipe = field(default_factory=Pipe)
    """Of the command that was run last, or runs."""
    nameservers: tuple[tuple[str, int], ...] = ()
    http_port: int = 80
    stdin: io.StringIO = field(default_factory=io.StringIO)
    sleep: Callable[[float], None] = time.sleep
    port_forward: Callable[[Sequence[str], str, str, int, int], PortForward] | None = None
    kustomize: Callable[[Path], bytes] | None = None

    def run(self, *arguments: str) -> Ran:
        """Run one command."""
        out, err = (Terminal(), Terminal()) if self.terminal else (Pipe(), Pipe())
        self.out, self.err = out, err
        around = Surroundings(
            out=out,
            err=err,
            stdin=self.stdin,
            sleep=self.sleep,
            port_forward=self.port_forward,
            kustomize=self.kustomize,
            environment=self.environment,
            now=self.clock,
            transport=MetadataOnly(Tenant(self.api, *self.tenant) if self.tenant else self.api),
            context_namespace=self.context_namespace,
            nameservers=self.nameservers,
            http_port=self.http_port,
        )
        code = run(arguments, around)
        return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def running(line: CommandLine, *arguments: str) -> Iterator[list[Ran]]:
    """Run a command in a thread, that it ends in by itself; then it is in the list."""
    ran: list[Ran] = []
    thread = threading.Thread(target=lambda: ran.append(line.run(*arguments)), daemon=True)
    thread.start()
    yield ran
    thread.join(PATIENCE)
    assert ran, f"{arguments} does not end"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def words(text: str) -> list[list[str]]:
    """Of each line: how wide columns are is not the point of most tests."""
    return [line.split() for line in text.strip().splitlines()]
