"""What hosts look like from the user's machine: their addresses, and the certificate that is served on port 443.

Only hosts that a certificate of the user's names are asked, all at once, within `PATIENCE` seconds. It is no more
than one view: the CA has another.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Thread

PATIENCE = 3.0
"""Seconds for all hosts together."""
MOST = 10
"""Hosts that are asked."""
PORT = 443


@dataclass(frozen=True)
class ServedCertificate:
    """Its serial number in hex, who signed it, until when it is valid; `trusted` by this machine for the host."""

    serial: str
    issuer: str
    not_after: datetime
    placeholder: bool
    trusted: bool


@dataclass(frozen=True)
class HostView:
    """`problem` says why nothing was served; `addresses` are IPv4 and IPv6, in the resolver's order."""

    addresses: tuple[str, ...] = ()
    served: ServedCertificate | None = None
    problem: str = ""


Look = Callable[[str], HostView]


def look_at(hosts: Iterable[str], *, patience: float = PATIENCE) -> dict[str, HostView]:
    """Each host but wildcards, the first `MOST`. One that does not answer in time has a problem that says so."""
    asked = [host for host in hosts if not host.startswith("*.")][:MOST]
    answers: SimpleQueue[tuple[str, HostView]] = SimpleQueue()
    until = time.monotonic() + patience
    for host in asked:
        # Nobody waits for one that hangs in a name lookup, not even the end of the process.
        Thread(target=lambda host=host: answers.put((host, _look(host, patience))), daemon=True).start()
    found = dict.fromkeys(asked, HostView(problem=f"no answer within {patience:.0f} s"))
    for _ in asked:
        try:
            host, view = answers.get(timeout=max(0.01, until - time.monotonic()))
        except Empty:
            break
        found[host] = view
    return found


def _look(host: str, patience: float) -> HostView:
    try:
        infos = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    except OSError:
        return HostView(problem="does not resolve")
    addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
    try:
        return HostView(addresses, _served(host, patience))
    except (OSError, ValueError) as problem:
        return HostView(addresses, problem=_told(problem))


def _served(host: str, patience: float) -> ServedCertificate:
    """By a handshake that verifies, and if that fails by one that does not."""
    from cryptography import x509

    from certs.placeholder import is_placeholder

    trusted, context = True, ssl.create_default_context()
    try:
        der = _handshake(host, context, patience)
    except ssl.SSLCertVerificationError:
        trusted, context.check_hostname, context.verify_mode = False, False, ssl.CERT_NONE
        der = _handshake(host, context, patience)
    leaf = x509.load_der_x509_certificate(der)
    return ServedCertificate(
        serial=f"{leaf.serial_number:x}",
        issuer=leaf.issuer.rfc4514_string()[:100],
        not_after=leaf.not_valid_after_utc,
        placeholder=is_placeholder(leaf),
        trusted=trusted,
    )


def _handshake(host: str, context: ssl.SSLContext, patience: float) -> bytes:
    with (
        socket.create_connection((host, PORT), timeout=patience) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def _told(problem: Exception) -> str:
    if isinstance(problem, TimeoutError):
        return f"no answer on port {PORT}"
    if isinstance(problem, ConnectionRefusedError):
        return f"port {PORT} refuses connections"
    return f"no TLS on port {PORT}: {str(problem)[:80] or type(problem).__name__}"
