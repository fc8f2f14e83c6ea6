"""One ACME server as a process of the test's own: started, killed, frozen, robbed of its database or of its CA."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from tests.cluster import settings as s
from tests.cluster.tools import Peers, peers
from tests.e2e.api import wait_for
from tests.fakes.fault_proxy import FaultProxy, fault_proxy

STARTS_WITHIN = 30.0
RESOLVING = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
"""Not all of the servers let their name server be configured for all that they look up."""


class Server(ABC):
    """What every peer has. `lacks` says by the name of a case what the server has no way to do.

    It resolves names at bind9, which knows the zones of DNS-01 and looks everything else up, and validates on
    Traefik's port. Everything it keeps is below `directory`.
    """

    name: str
    title: str
    email = ""
    """The address of the accounts; empty where the server takes accounts without."""
    lacks: Mapping[str, str] = {}
    too_long = ""
    """A life that it refuses, and not before finalize; empty where it gives another life than was asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = s.from_environment(os.environ)
        self.programs: Peers = peers(self.settings)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"{self.name}.certjob.test"

    @property
    def database(self) -> Path:
        """The directory that is everything the server remembers of its clients."""
        return self.directory / "db"

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The command line."""

    @abstractmethod
    def configure(self) -> None:
        """Write the configuration."""

    @abstractmethod
    def root_pem(self) -> bytes:
        """What its certificates and its own HTTPS certificate come from."""

    @abstractmethod
    def new_authority(self) -> None:
        """Make another CA, while the server does not run."""

    @abstractmethod
    def url(self, flavour: str = "") -> str:
        """URL of the directory; `flavour` is one of `flavours`."""

    def use(self, flavour: str) -> str:
        """See that this flavour is served; the URL of its directory."""
        return self.url(flavour)

    flavours: frozenset[str] = frozenset()
    """Directories with other settings: `short` (certificates of 15 minutes), `external` (demands external accounts),
    `refusing` (fails at finalize), `forcing` (its renewal windows are always past)."""

    def environment(self) -> dict[str, str]:
        """What its process has besides the tests' own."""
        return {}

    def start(self) -> None:
        """Returns once it answers."""
        self.configure()
        resolver = self.directory / "resolv.conf"
        resolver.write_text(f"nameserver {s.DNS_IP}\n")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", RESOLVING, resolver, *map(str, self.command())],
                env=os.environ | {"HOME": str(self.directory)} | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        wait_for(self.answers, what=f"{self.name} answers (log: {self.directory}/log)", seconds=STARTS_WITHIN)

    def answers(self) -> bool:
        """Whether its directory can be had."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} has ended: {self.log[-600:]}"
        try:
            return bool(self.document())
        except OSError:
            return False

    def document(self) -> dict[str, Any]:
        """Its directory (RFC 8555, section 7.1.1). Raises OSError."""
        context = ssl.create_default_context(cadata=self.root_pem().decode())
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        with opener.open(self.url(), timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def kill(self) -> None:
        """At once, as a crash does. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            # Its workers, too, at the same moment.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def restart(self) -> None:
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nobody."""
        assert self._process is not None
        group = self._process.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)

    def lose_database(self) -> None:
        """It comes back with its CA and without any memory."""
        self.kill()
        shutil.rmtree(self.database)
        self.start()

    def replace_authority(self) -> None:
        """It comes back with another root."""
        self.kill()
        self.new_authority()
        self.start()

    @contextmanager
    def proxied(self, flavour: str = "") -> Iterator[FaultProxy]:
        """A proxy in front of it, which counts orders and lets one act at a step."""
        with fault_proxy(name=self.host, upstream=self.use(flavour), upstream_ca=self.root_pem()) as proxy:
            yield proxy


@contextmanager
def running(kind: type[Server], directory: Path) -> Iterator[Server]:
    """One of the servers until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    server = kind(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    with socket.create_server((s.NODE_IP, 0)) as found:
        port: int = found.getsockname()[1]
        return port
