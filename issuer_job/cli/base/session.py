"""What a command has at hand: its flags, the cluster, the clock, and where it prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import Exit, is_forbidden
from issuer_job.cli.base.flags import Flags
from issuer_job.cli.out.terminal import Terminal
from issuer_job.cluster.api import LONGEST_CALL, MUTATING_WEBHOOKS, Cluster, KubeError, Transport
from issuer_job.polling import utc_now

if TYPE_CHECKING:
    from issuer_job.cli.way.kubectl import ContextNamespace, KubectlProxy
    from issuer_job.cli.way.port_forward import PortForward

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Surroundings:
    """What a command is run in; tests have others. `transport`: instead of kubectl."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    transport: Transport | None = None
    context_namespace: str = ""
    nameservers: tuple[tuple[str, int], ...] = ()
    """DNS servers to ask; none: the machine's own."""
    port_forward: Callable[[Sequence[str], str, str, int, int], PortForward] | None = None
    """Instead of `way.port_forward.PortForward`."""
    kustomize: Callable[[Path], bytes] | None = None
    """Instead of `doctoring.manifests.kustomized`."""
    http_port: int = 80


@dataclass
class Session:
    """One run of one command. What it opens ends with `close`."""

    flags: Flags
    surroundings: Surroundings
    _endings: list[Callable[[], None]] = field(default_factory=list)
    _context: ContextNamespace | None = None

    def begin(self, *, scoped: bool) -> None:
        """Start kubectl, while the command is still being imported. Raises CommandError."""
        if self.surroundings.transport is not None or self._by_library:
            return
        from issuer_job.cli.way.kubectl import ContextNamespace

        if scoped and not (self.flags.namespace or self.flags.all_namespaces):
            self._context = ContextNamespace(self.flags.kubectl)
            self._endings.append(self._context.close)
        self._proxy = self._proxied(self.flags)

    def within(self, namespace: str | None) -> Session:
        """The same in another namespace; None: in all. It ends with this one."""
        flags = replace(self.flags, namespace=namespace or "", all_namespaces=namespace is None)
        other = Session(flags, self.surroundings)
        other.__dict__ |= {"cluster": self.cluster, "terminal": self.terminal}
        other.__dict__ |= {"certjob_namespace": self.certjob_namespace}
        return other

    def close(self) -> None:
        """End what was begun."""
        while self._endings:
            self._endings.pop()()

    @cached_property
    def terminal(self) -> Terminal:
        """Where it prints."""
        around = self.surroundings
        return Terminal.of(around.out, around.err, around.environment)

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster that the flags mean. Raises CommandError where there is no way to it."""
        return Cluster(self._transport(self.flags), timeout=self.flags.request_timeout or LONGEST_CALL)

    @cached_property
    def namespace(self) -> str | None:
        """The one that the command is about; None: all."""
        if self.flags.all_namespaces:
            return None
        if self.flags.namespace:
            return self.flags.namespace
        if self._context is not None:
            return self._context.name() or "default"
        if self._by_library and POD_NAMESPACE.is_file():
            return POD_NAMESPACE.read_text().strip()
        return self.surroundings.context_namespace or "default"

    @cached_property
    def certjob_namespace(self) -> str:
        """Where certjob is installed: as is said, else where its webhook is, else `certjob`.

        From then on the rest of the product takes it for certjob's, too: a command has to do with one cluster.
        """
        v.NAMESPACE = self.flags.certjob_namespace or self._webhooks_namespace() or v.NAMESPACE
        return v.NAMESPACE

    def find_certjob(self) -> str:
        """Have the rest of the product look where certjob is, before any of it is asked; the namespace."""
        return self.certjob_namespace

    @property
    def now(self) -> datetime:
        """The clock."""
        return self.surroundings.now()

    def acting_as(self, user: str) -> Cluster:
        """The cluster as somebody else, by impersonation. Raises CommandError."""
        return Cluster(self._transport(replace(self.flags, as_user=user, as_group=())), timeout=self.cluster.timeout)

    def port_forward(self, target: str, remote: int, *, local: int = 0) -> PortForward:
        """A way to a port of a pod in certjob's namespace. Raises CommandError where there is no kubectl."""
        from issuer_job.cli.way.port_forward import PortForward

        make = self.surroundings.port_forward or PortForward
        return make(self.flags.kubectl, self.certjob_namespace, target, remote, local)

    def refuse(self, sentence: str, code: Exit = Exit.NO) -> Exit:
        """Say on stderr why the command does not end well, and return how it ends."""
        self.terminal.note(f"error: {sentence}")
        return code

    @property
    def _by_library(self) -> bool:
        """Whether there is no kubectl to be asked: in a pod without a kubeconfig, and on Windows."""
        environment = self.surroundings.environment
        given = self.flags.context or self.flags.kubeconfig or environment.get("KUBECONFIG")
        in_pod = "KUBERNETES_SERVICE_HOST" in environment and POD_NAMESPACE.is_file() and not given
        return sys.platform == "win32" or in_pod

    def _transport(self, flags: Flags) -> Transport:
        made = self.surroundings.transport or self._connected(flags)
        if not flags.verbosity:
            return made
        from issuer_job.cli.way.tracing import Traced

        return Traced(made, self.terminal.note)

    def _connected(self, flags: Flags) -> Transport:
        from issuer_job.cli.way.socket_transport import SocketTransport, accepted

        if self._by_library:
            from issuer_job.cluster.transport import HttpTransport

            return HttpTransport(
                user=flags.as_user,
                groups=flags.as_group,
                context=flags.context,
                kubeconfig=flags.kubeconfig,
                accept=accepted,
            )
        proxy = self._proxy if flags is self.flags else self._proxied(flags)
        transport = SocketTransport(proxy.socket)
        self._endings.append(transport.close)
        return transport

    def _proxied(self, flags: Flags) -> KubectlProxy:
        from issuer_job.cli.way.kubectl import KubectlProxy

        proxy = KubectlProxy(flags.kubectl, self.terminal.note)
        self._endings.append(proxy.close)
        return proxy

    def _webhooks_namespace(self) -> str:
        """Of the Service of certjob's webhook; empty if there is none, or whoever asks may not know."""
        labels = f"{v.APP_NAME}=certjob"
        try:
            for found in self.cluster.items(MUTATING_WEBHOOKS, None, labels=labels):
                for webhook in found.get("webhooks") or ():
                    service = (webhook.get("clientConfig") or {}).get("service") or {}
                    if service.get("name") == v.WEBHOOK_SERVICE:
                        return str(service.get("namespace") or "")
        except KubeError as problem:
            if not is_forbidden(problem):
                raise
        return ""
