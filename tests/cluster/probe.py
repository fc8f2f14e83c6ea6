"""Wait inside the cluster's network until its parts answer: python3 -m tests.cluster.probe STATE WHAT..."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster import dns
from tests.cluster import settings as s

LIMIT = 60.0


def main(arguments: list[str]) -> int:
    """Exit code 0 when all answer, 1 with one sentence on standard error otherwise."""
    state, wanted = Path(arguments[0]), arguments[1:]
    end = time.monotonic() + LIMIT
    for name in wanted:
        if problem := _wait(CHECKS[name], state, end):
            print(f"{name} did not answer within {LIMIT:.0f} s: {problem}", file=sys.stderr)
            return 1
    return 0


def _wait(check: Callable[[Path], str], state: Path, end: float) -> str:
    while True:
        try:
            problem = check(state)
        except (OSError, ValueError, KeyError, struct.error) as error:
            problem = str(error) or type(error).__name__
        if not problem or time.monotonic() > end:
            return problem
        time.sleep(0.05)


def _get(url: str, *, authority: Path | None = None, token: str = "") -> bytes:
    """Without proxies: there is no way out of this network."""
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.build_opener(*handlers).open(request, timeout=5) as answer:
        data: bytes = answer.read()
    return data


def _api(state: Path, path: str) -> bytes:
    configuration = json.loads((state / "admin.kubeconfig").read_text())
    token = configuration["users"][0]["user"]["token"]
    return _get(f"{s.API_SERVER}{path}", authority=state / "pki/cluster-ca.pem", token=token)


def _apiserver(state: Path) -> str:
    return "" if _api(state, "/readyz") == b"ok" else "not ready"


def _node(state: Path) -> str:
    node = json.loads(_api(state, f"/api/v1/nodes/{s.NODE_NAME}"))
    ready = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
    if not ready or ready[0]["status"] != "True":
        return ready[0].get("message", "not ready") if ready else "no condition yet"
    return "still tainted" if node["spec"].get("taints") else ""


def _accounts(state: Path) -> str:
    _api(state, "/api/v1/namespaces/default/serviceaccounts/default")
    return ""


def _traefik(state: Path) -> str:
    _get("http://127.0.0.1:8080/ping")
    for port in (80, 443):
        _expect_http(port)
    return ""


def _expect_http(port: int) -> None:
    """404 is Traefik's own answer for a host without a route."""
    url = f"{'https' if port == 443 else 'http'}://{s.NODE_IP}/"
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        opener.open(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 404:
            raise


def _pebble(state: Path) -> str:
    return _has_directory(state, s.PEBBLE_PORT)


def _pebble_dns(state: Path) -> str:
    return _has_directory(state, s.PEBBLE_DNS_PORT)


def _has_directory(state: Path, port: int) -> str:
    directory = json.loads(_get(f"https://{s.NODE_IP}:{port}/dir", authority=state / "pebble-ca.pem"))
    return "" if "newOrder" in directory else "no directory"


def _has_zones(server: str, *zones: str) -> str:
    return next((f"no answer for {zone}" for zone in zones if not _is_authority(server, zone)), "")


def _is_authority(server: str, zone: str) -> bool:
    """Whether the server gives the zone's SOA as its authority (RFC 1035 section 4.1); this machine may lack dig."""
    header = struct.pack("!6H", 4711, 0, 1, 0, 0, 0)
    name = b"".join(bytes([len(label)]) + label.encode() for label in zone.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((server, 53))
        client.send(header + name + b"\0" + struct.pack("!2H", 6, 1))
        number, flags, _, answers, _, _ = struct.unpack("!6H", client.recv(4096)[:12])
    return bool(number == 4711 and flags & 0x0400 and not flags & 0x000F and answers)


def _powerdns(state: Path) -> str:
    # Without the key its API refuses, which is an answer.
    try:
        _get(f"http://{s.PDNS_IP}:{s.PDNS_API_PORT}/api/v1/servers")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 401:
            raise
    return _has_zones(s.PDNS_IP, dns.PDNS_ZONE)


CHECKS: dict[str, Callable[[Path], str]] = {
    "kube-apiserver": _apiserver,
    "node": _node,
    "service accounts": _accounts,
    "traefik": _traefik,
    "pebble": _pebble,
    "pebble-dns": _pebble_dns,
    dns.PRIMARY: lambda state: _has_zones(s.DNS_IP, *(zone.name for zone in dns.ZONES)),
    dns.SECONDARY: lambda state: _has_zones(s.DNS_SECONDARY_IP, *(z.name for z in dns.ZONES if z.secondary)),
    dns.PDNS: _powerdns,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
