"""The chains that hosts show in a handshake: what is in a Secret, without a look into it.

Nothing is verified on the way: `certs.trust` judges the chain. A host that does not answer has shown nothing.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Collection, Mapping
from queue import Empty, SimpleQueue
from threading import Thread

from certs.chain import describe_chain
from certs.errors import CertError
from certs.hostnames import covers

PORT = 443
WORKERS = 16
PATIENCE = 3.0
"""Seconds for one host."""
LONGEST = 60.0
"""Seconds for all of them."""
Key = tuple[str, str]


def host_to_ask(hosts: Collection[str]) -> str:
    """One of a certificate's hosts, or a name below its wildcard."""
    plain = sorted(host for host in hosts if not host.startswith("*."))
    return plain[0] if plain else next((f"certjob{host[1:]}" for host in sorted(hosts)), "")


def chains(
    wanted: Mapping[Key, str], *, connect: str = "", patience: float = PATIENCE, longest: float = LONGEST
) -> dict[Key, bytes]:
    """The chain (PEM) that each host has shown that covers it, by the Secret that it stands for.

    `connect` is an address, with or without a port, that is asked for all of them in the place of their own.
    """
    left: SimpleQueue[tuple[Key, str]] = SimpleQueue()
    for each in wanted.items():
        left.put(each)
    answers: SimpleQueue[tuple[Key, bytes]] = SimpleQueue()

    def work() -> None:
        while True:
            try:
                key, host = left.get_nowait()
            except Empty:
                return
            answers.put((key, _shown(host, connect or host, patience)))

    # Nobody waits for one that hangs in a name lookup, not even the end of the process.
    for _ in range(min(WORKERS, len(wanted))):
        Thread(target=work, name="handshake", daemon=True).start()
    found, until = dict[Key, bytes](), time.monotonic() + longest
    for _ in wanted:
        try:
            key, chain = answers.get(timeout=max(0.01, until - time.monotonic()))
        except Empty:
            break
        if chain:
            found[key] = chain
    return found


def _shown(host: str, where: str, patience: float) -> bytes:
    try:
        chain = _handshake(host, where, patience)
        return chain if covers(describe_chain(chain).names, host) else b""
    except (OSError, ValueError, CertError):
        return b""


def _handshake(host: str, where: str, patience: float) -> bytes:
    address, port = _address(where)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((address, port), timeout=patience) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        return "".join(map(ssl.DER_cert_to_PEM_cert, _chain(tls))).encode()


def _chain(tls: ssl.SSLSocket) -> list[bytes]:
    """DER, leaf first: public as of Python 3.13, there since 3.10."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    raw = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in raw]


def _address(where: str) -> tuple[str, int]:
    """Of "host", "host:8443", "192.0.2.1", "[2001:db8::1]:8443". Raises ValueError."""
    host, colon, port = where.rpartition(":")
    if not colon or host.endswith(":") or (":" in host and not host.endswith("]")):
        return where.strip("[]"), PORT
    return host.strip("[]"), int(port)
