"""The self-check before a challenge is answered: do the responders, and then the host, show the key authorization?

Advisory: a probe says what it saw and never raises for the network. A host is asked as a CA asks (RFC 8555, 8.3):
port 80, redirects to http and https on the usual ports, certificates not verified. Hosts and redirects are a tenant's
to choose, so all that is ever sent is this GET, without credentials, and nothing of a body is kept or logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from issuer_job.attempt.solver import HostChallenge
from issuer_job.http01.probe_http import REDIRECT_PORTS, ProbeOutcome, Seen, fetch, fetch_following
from issuer_job.vocabulary import CHALLENGE_PATH

Clock = Callable[[], float]

_FIRST_PAUSE = 0.075
_LONGEST_PAUSE = 0.5
_WORKERS = 8


class ProbeReason(StrEnum):
    """Why a probe ended as it did."""

    OK = "Ok"
    REDIRECTS_TO_HTTPS = "RedirectsToHttps"
    """ok: port 80 only redirects to https, and that did not answer. A CA may see more."""
    FOREIGN = "ForeignAnswer"
    """Somebody answers HTTP, but not with the key authorization: the route is not live, or the host not ours."""
    UNREACHABLE = "Unreachable"
    """No HTTP answer. From inside that may be a hairpin only."""
    NO_ENDPOINTS = "NoEndpoints"


@dataclass(frozen=True)
class ProbeResult:
    """`message` is one sentence for people; `seconds` is what the probe took."""

    ok: bool
    reason: ProbeReason
    message: str
    seconds: float


def probe_endpoints(
    addresses: Sequence[tuple[str, int]],
    token: str,
    expected: str,
    *,
    deadline: float,
    foreign_budget: float = 45.0,
    connect_budget: float = 5.0,
    clock: Clock = time.monotonic,
) -> ProbeResult:
    """Asks every responder (IP address, port) until it shows the key authorization, or its budget is over.

    One that answers, but not with that, has `foreign_budget` seconds from the start: its watch may be frozen for 40.
    One that gives no answer has `connect_budget`. `deadline` is a time of `clock`.
    """
    started = clock()
    if not addresses:
        return ProbeResult(False, ProbeReason.NO_ENDPOINTS, "no responder is ready", 0.0)

    def ask(address: tuple[str, int]) -> Seen:
        host, port = address
        pauses = _Pauses()
        silent_since = started
        while True:
            seen = fetch(host, port, CHALLENGE_PATH + token, expected, limit=deadline, clock=clock)
            if seen.outcome is ProbeOutcome.RIGHT:
                return seen
            if seen.outcome is ProbeOutcome.FOREIGN:
                silent_since = clock()
                end = started + foreign_budget
            else:
                end = silent_since + connect_budget
            if not pauses.wait(min(end, deadline), clock):
                return seen

    with ThreadPoolExecutor(min(_WORKERS, len(addresses))) as pool:
        answers = list(pool.map(ask, addresses))
    wrong = [
        (address, seen)
        for address, seen in zip(addresses, answers, strict=True)
        if seen.outcome is not ProbeOutcome.RIGHT
    ]
    seconds = clock() - started
    if not wrong:
        return ProbeResult(True, ProbeReason.OK, f"all {len(addresses)} responders answer", seconds)
    (host, port), seen = wrong[0]
    message = f"{len(wrong)} of {len(addresses)} responders do not answer yet; {host} port {port}: {seen.detail}"
    unreachable = any(seen.outcome is ProbeOutcome.UNREACHABLE for _, seen in wrong)
    return ProbeResult(False, ProbeReason.UNREACHABLE if unreachable else ProbeReason.FOREIGN, message, seconds)


def probe_host(
    host: str,
    token: str,
    expected: str,
    *,
    deadline: float,
    port: int = 80,
    foreign_budget: float = 60.0,
    connect_budget: float = 3.0,
    clock: Clock = time.monotonic,
    started: float | None = None,
    redirect_ports: frozenset[int] = REDIRECT_PORTS,
) -> ProbeResult:
    """Asks `http://HOST/.well-known/acme-challenge/TOKEN` until it shows the key authorization.

    After a foreign answer it asks again until `foreign_budget` seconds after `started` (default: now), while nothing
    answers HTTP until `connect_budget`. `deadline` is a time of `clock` after which no attempt begins but the first.
    """
    begun = clock()
    silent_since = started = begun if started is None else started
    pauses = _Pauses()
    while True:
        seen = fetch_following(
            host, port, CHALLENGE_PATH + token, expected, clock=clock, redirect_ports=redirect_ports
        )
        if seen.outcome is ProbeOutcome.RIGHT:
            return ProbeResult(True, ProbeReason.OK, f"{host} answers", clock() - begun)
        if seen.outcome is ProbeOutcome.FOREIGN:
            silent_since = clock()
            end = started + foreign_budget
        else:
            end = silent_since + connect_budget
        if not pauses.wait(min(end, deadline), clock):
            return _gave_up(host, seen, clock() - begun)


def _gave_up(host: str, seen: Seen, seconds: float) -> ProbeResult:
    message = f"{host}: {seen.detail}"
    if seen.outcome is ProbeOutcome.REDIRECT_FAILED:
        return ProbeResult(True, ProbeReason.REDIRECTS_TO_HTTPS, message, seconds)
    reason = ProbeReason.FOREIGN if seen.outcome is ProbeOutcome.FOREIGN else ProbeReason.UNREACHABLE
    return ProbeResult(False, reason, message, seconds)


def probe_hosts(
    challenges: Sequence[HostChallenge],
    *,
    deadline: float,
    port: int = 80,
    foreign_budget: float = 60.0,
    connect_budget: float = 3.0,
    clock: Clock = time.monotonic,
    redirect_ports: frozenset[int] = REDIRECT_PORTS,
) -> list[ProbeResult]:
    """`probe_host` for many, eight at a time; results in the order of `challenges`.

    All budgets run from now; a host whose turn comes late is asked at least once.
    """
    started = clock()

    def ask(challenge: HostChallenge) -> ProbeResult:
        return probe_host(
            challenge.host,
            challenge.token,
            challenge.key_authorization,
            deadline=deadline,
            port=port,
            foreign_budget=foreign_budget,
            connect_budget=connect_budget,
            clock=clock,
            started=started,
            redirect_ports=redirect_ports,
        )

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(ask, challenges))


class _Pauses:
    """Waits between attempts: they begin short and grow gently."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    def wait(self, end: float, clock: Clock) -> bool:
        """Sleeps; False, without a sleep, if that would pass `end`."""
        if clock() + self._next > end:
            return False
        time.sleep(self._next)
        self._next = min(self._next * 1.3, _LONGEST_PAUSE)
        return True
