"""One bounded HTTP GET of the self-check, and the redirects after it.

Bounded in time by a limit for all reads together, in size by 16 KiB of head and 1 KiB of body: who answers is a
tenant's choice. So is where it redirects to: at the address that answered any path is asked, elsewhere only paths
below the challenge path, without a query, and only at addresses that `probe_addresses` lets it.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from io import BufferedReader, RawIOBase
from typing import Any, cast
from urllib.parse import quote, urljoin, urlsplit

from issuer_job.background import Background
from issuer_job.http01.probe_addresses import is_of_others, is_public, never_asked
from issuer_job.vocabulary import CHALLENGE_PATH

REDIRECT_PORTS = frozenset({80, 443})
MAX_REDIRECTS = 5
_CONNECT = 1.0
_ATTEMPT = 2.0
"""Seconds for one request: connecting, TLS, and all reads."""
_CHAIN = 5.0
"""Seconds for a request with its redirects."""
_MAX_BODY = 1024
_MAX_ANSWER = 16 * 1024 + _MAX_BODY
_MAX_URL = 2000
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_ELSEWHERE = re.compile(re.escape(CHALLENGE_PATH) + r"[A-Za-z0-9_/-]+")
"""Paths that are asked at other hosts: an application that acts on one of these has itself to blame."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ProbeReason(StrEnum):
    """What a probe has seen."""

    OK = "Ok"
    REDIRECTS_TO_HTTPS = "RedirectsToHttps"
    """Port 80 only redirects to https, and that did not answer. A CA may see more."""
    FOREIGN = "ForeignAnswer"
    """Somebody answers HTTP, but not with the key authorization: the route is not live, or the host not ours."""
    FOREIGN_OVER_HTTPS = "ForeignOverHttps"
    """Port 80 redirects to https, and there the same holds: all of port 80 is redirected, routes too."""
    UNREACHABLE = "Unreachable"
    """No HTTP answer. From inside that may be a hairpin only."""
    NO_ENDPOINTS = "NoEndpoints"


@dataclass(frozen=True)
class Seen:
    """One answer; `detail` says it without its body. `location` is where a redirect leads, `status` is HTTP's, and
    `server` is who answered, as it says.
    """

    reason: ProbeReason
    detail: str
    location: str | None = None
    address: str = ""
    """The IP address that gave it, empty if none did."""
    status: int = 0
    server: str = ""


class _Bounded(RawIOBase):
    """A socket's bytes until `limit`, and not too many: http.client alone waits for each read anew."""

    def __init__(self, connection: socket.socket, limit: float) -> None:
        self._connection = connection
        self._limit = limit
        self._left = _MAX_ANSWER

    def makefile(self, mode: str) -> BufferedReader:
        """What HTTPResponse wants of a socket."""
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise OSError("the answer is too long")
        self._connection.settimeout(_remaining(self._limit))
        count = self._connection.recv_into(buffer, min(len(buffer), self._left))
        self._left -= count
        return count


def fetch_following(
    host: str,
    port: int,
    path: str,
    expected: str,
    *,
    redirect_ports: frozenset[int] = REDIRECT_PORTS,
) -> Seen:
    """GET http://HOST/PATH and up to five redirects, as a CA follows them."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    limit = time.monotonic() + _CHAIN
    seen = fetch(host, port, path, expected)
    first = seen.address
    for _ in range(MAX_REDIRECTS):
        if seen.location is None:
            return seen
        target = _target(url, seen.location, redirect_ports)
        if target is None:
            return Seen(ProbeReason.FOREIGN, "it redirects to where a CA does not follow")
        url, scheme, name, number, rest = target
        tls, elsewhere = scheme == "https", name != host.lower()
        if elsewhere and not _ELSEWHERE.fullmatch(rest):
            return Seen(ProbeReason.FOREIGN, "it redirects to another host, and not to a challenge path")
        if elsewhere:
            allowed = is_public if is_public(first) else is_of_others
            seen = fetch(name, number, rest, expected, tls=tls, allowed=allowed, limit=limit)
        else:  # the name is not resolved again: it could lead elsewhere by now
            seen = fetch(name, number, rest, expected, tls=tls, at=first, limit=limit)
        if seen.reason is ProbeReason.UNREACHABLE and tls:
            return Seen(ProbeReason.REDIRECTS_TO_HTTPS, f"it redirects to https, and there: {seen.detail}")
        if seen.reason is ProbeReason.FOREIGN and tls and not elsewhere and seen.location is None:
            return Seen(ProbeReason.FOREIGN_OVER_HTTPS, f"it redirects to https, and there: {seen.detail}")
    return seen if seen.location is None else Seen(ProbeReason.FOREIGN, "it redirects too often")


def _target(base: str, location: str, ports: frozenset[int]) -> tuple[str, str, str, int, str] | None:
    """URL, scheme, host, port and path of a redirect, or None if it may not be followed."""
    try:
        url = urljoin(base, location)
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if len(url) > _MAX_URL or parts.scheme not in ("http", "https") or port not in ports or not parts.hostname:
        return None
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else ""
    return url, parts.scheme, parts.hostname, port, path + query


def fetch(
    host: str,
    port: int,
    path: str,
    expected: str,
    *,
    tls: bool = False,
    at: str = "",
    allowed: Callable[[str], bool] = lambda address: True,
    limit: float | None = None,
) -> Seen:
    """One GET of the host: at the IP address `at`, or one of its own that is `allowed`."""
    if not _HOST.fullmatch(host):
        return Seen(ProbeReason.UNREACHABLE, "not a host name")
    limit = min(time.monotonic() + _ATTEMPT, limit if limit is not None else float("inf"))
    try:
        with _connect(at or host, port, allowed, limit) as plain, _secured(plain, host, tls, limit) as link:
            address = str(link.getpeername()[0])
            link.settimeout(_remaining(limit))
            link.sendall(_request(host, port, path, 443 if tls else 80))
            response = HTTPResponse(cast(socket.socket, _Bounded(link, limit)), method="GET")
            with response:
                response.begin()
                seen, server = _judge(response, expected), response.headers.get("Server", "")[:40]
                return replace(seen, address=address, status=response.status, server=server)
    except TimeoutError:
        return Seen(ProbeReason.UNREACHABLE, "no answer in time")
    except (OSError, HTTPException, ValueError) as problem:
        return Seen(ProbeReason.UNREACHABLE, _describe(problem))


def _judge(response: HTTPResponse, expected: str) -> Seen:
    if response.status in _REDIRECTS:
        location = response.headers.get("Location")
        return Seen(ProbeReason.FOREIGN, f"HTTP {response.status}", location)
    if response.status != 200:
        return Seen(ProbeReason.FOREIGN, f"HTTP {response.status} instead of the key authorization")
    # RFC 8555, 8.3: whitespace at the end is ignored.
    if response.read(_MAX_BODY).rstrip() == expected.encode():
        return Seen(ProbeReason.OK, "the key authorization")
    return Seen(ProbeReason.FOREIGN, "HTTP 200, but not the key authorization")


def _request(host: str, port: int, path: str, usual_port: int) -> bytes:
    name = f"[{host}]" if ":" in host else host
    authority = name if port == usual_port else f"{name}:{port}"
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: certjob\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii")


def _connect(host: str, port: int, allowed: Callable[[str], bool], limit: float) -> socket.socket:
    """A connection to one of the first addresses. Raises OSError."""
    problem: OSError = OSError("its name has no address that may be asked")
    usable = [address for address in _resolve(host, port, limit) if allowed(address) and not never_asked(address)]
    for address in usable[:3]:
        try:
            return socket.create_connection((address, port), timeout=min(_CONNECT, _remaining(limit)))
        except OSError as failed:
            problem = failed
    raise problem


def _resolve(host: str, port: int, limit: float) -> list[str]:
    """IP addresses of a host. In a thread, because getaddrinfo knows no timeout. Raises OSError."""
    asked = Background(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    try:
        return [str(info[4][0]) for info in asked.result(_remaining(limit))]
    except UnicodeError:
        raise OSError("not a host name") from None


def _secured(plain: socket.socket, host: str, tls: bool, limit: float) -> socket.socket:
    if not tls:
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # as CAs do: the host has no trusted certificate yet
    plain.settimeout(_remaining(limit))
    return context.wrap_socket(plain, server_hostname=host)


def _remaining(limit: float) -> float:
    """Seconds left. Raises TimeoutError if none are."""
    left = limit - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _describe(problem: Exception) -> str:
    """What went wrong, without anything the other side said."""
    if isinstance(problem, socket.gaierror):
        return "its name does not resolve"
    if isinstance(problem, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(problem, RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(problem, HTTPException | ValueError):
        return "the answer is not HTTP"
    return problem.strerror or str(problem) if isinstance(problem, OSError) else type(problem).__name__
