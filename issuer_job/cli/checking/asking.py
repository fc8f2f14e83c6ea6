"""Asks DNS, port 80 and the CA's directory from this machine: much at once, and all of it within seconds.

Nothing is looked up but the hosts themselves and, for CAA, the names above them (RFC 8659).
"""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from issuer_job.background import Background
from issuer_job.cli.checking.addresses import Asked, Led, Port80
from issuer_job.cli.checking.caa import Answers, climbed
from issuer_job.dns01.lookup import Address, DnsLookupError, Lookup
from issuer_job.http01.probe_http import fetch
from issuer_job.vocabulary import CHALLENGE_PATH

MAX_HOSTS = 100
"""That are asked about: as many as a certificate holds."""
DNS_SECONDS, ALL_SECONDS = 4.5, 7.5
"""From the beginning, until no further question is begun. What was begun takes two more."""
PATIENCE = 15.0
"""For all of it, whatever happens."""
DNS_TIMEOUT = 1.0
DIRECTORY_SECONDS = 4.0
MAX_DIRECTORY = 64 * 1024
_AT_ONCE = 64

R = TypeVar("R")
Named = tuple[tuple[str, ...] | None, str]
"""A directory's `caaIdentities`; None, with a reason, if it cannot be read."""


@dataclass(frozen=True)
class SeenFromHere:
    """All that was asked; `named` by directory."""

    led: tuple[Led, ...] = ()
    caa: Answers = field(default_factory=dict)
    port_80: Port80 = field(default_factory=Port80)
    named: Mapping[str, Named] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What to ask. `reached` are hosts that are proven over HTTP-01: where they lead, and whether port 80 answers;
    `certified` are all, for CAA. `directories` are the CAs', each with whom to trust there: PEM, empty for the usual.
    """

    reached: Sequence[str]
    certified: Sequence[str]
    directories: Mapping[str, str] = field(default_factory=dict)


def ask(
    wish: Wish,
    *,
    nameservers: tuple[Address, ...] = (),
    port: int = 80,
    clock: Callable[[], float] = time.monotonic,
) -> SeenFromHere:
    """Ask all of it, in less than ten seconds whoever is silent."""
    begun = clock()
    lookup = _lookup(nameservers, lambda: begun + DNS_SECONDS - clock())
    if isinstance(lookup, str):
        return SeenFromHere(
            tuple(Led(host, lookup, lookup) for host in wish.reached), dict.fromkeys(wish.certified, lookup)
        )
    reached = list(dict.fromkeys(wish.reached))[:MAX_HOSTS]
    above = list(dict.fromkeys(name for host in wish.certified[:MAX_HOSTS] for name in climbed(host)))
    directories = {url: Background(partial(_identities, url, pem)) for url, pem in wish.directories.items()}
    until = begun + ALL_SECONDS

    def port_80(question: tuple[str, str]) -> Asked | None:
        return _port_80(*question, port=port) if clock() < until else None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        v4, v6 = (
            {host: pool.submit(_told, partial(lookup.addresses, host, v6=is_v6)) for host in reached}
            for is_v6 in (False, True)
        )
        caa = {name: pool.submit(_told, partial(lookup.caa, name)) for name in above}
        led = tuple(Led(host, v4[host].result(), v6[host].result()) for host in reached)
        questions = [(one.host, address) for one in led for address in one.first_of_each]
        answers = list(pool.map(port_80, questions))
        asked = tuple(one for one in answers if one is not None)
        unasked = {host for (host, _), one in zip(questions, answers, strict=True) if one is None}
        return SeenFromHere(
            led=led,
            caa={name: found.result() for name, found in caa.items()},
            port_80=Port80(asked, tuple(sorted(unasked - {one.host for one in asked}))),
            named={url: _waited(asked_for, until - clock()) for url, asked_for in directories.items()},
        )


def _lookup(nameservers: tuple[Address, ...], left: Callable[[], float]) -> Lookup | str:
    try:
        return Lookup(nameservers, timeout=DNS_TIMEOUT, seconds_left=left)
    except OSError as problem:
        return f"no DNS server is known here ({problem.strerror})"


def _told(look: Callable[[], R]) -> R | str:
    """The answer, or why there is none."""
    try:
        return look()
    except DnsLookupError as problem:
        return str(problem).rpartition(" could not be looked up: ")[2]


def _port_80(host: str, address: str, *, port: int) -> Asked:
    path = f"{CHALLENGE_PATH}certjob-check-{secrets.token_hex(8)}"
    return Asked(host, address, fetch(host, port, path, "", at=address))


def _waited(directory: Background[Named], seconds: float) -> Named:
    try:
        return directory.result(seconds)
    except TimeoutError:
        return None, "its directory was not read in time"


def _identities(directory: str, ca_bundle: str) -> Named:
    if not directory.startswith("https://"):
        return None, "its directory is not https"
    try:
        trust = ssl.create_default_context(cadata=ca_bundle or None)
        request = urllib.request.Request(directory, headers={"User-Agent": "kubectl-certjob"})  # noqa: S310 - https
        with urllib.request.urlopen(request, timeout=DIRECTORY_SECONDS, context=trust) as answer:  # noqa: S310 - https
            document = json.loads(answer.read(MAX_DIRECTORY))
        named = ((document.get("meta") or {}).get("caaIdentities") or ()) if isinstance(document, dict) else ()
        return tuple(str(one)[:253] for one in named if isinstance(one, str))[:20], ""
    except (OSError, ValueError, AttributeError, RecursionError) as problem:
        return None, f"its directory cannot be read from here ({type(problem).__name__})"
