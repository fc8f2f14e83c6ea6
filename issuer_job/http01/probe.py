"""The self-check before a challenge is answered: do the responders, and then the host, show the key authorization?

Advisory: a probe says what it saw and never raises for the network. A host is asked as a CA asks (RFC 8555, 8.3):
port 80, redirects to http and https on the usual ports, certificates not verified. Hosts and redirects are a tenant's
to choose, so all that is ever sent is this GET, without credentials, and nothing of a body is kept or logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from issuer_job.attempt.solver import HostChallenge
from issuer_job.background import at_once
from issuer_job.http01.probe_http import REDIRECT_PORTS, ProbeReason, Seen, fetch, fetch_following
from issuer_job.vocabulary import CHALLENGE_PATH

_FIRST_PAUSE = 0.075
_LONGEST_PAUSE = 0.5


@dataclass(frozen=True)
class ProbeResult:
    """`message` is one sentence for people; `seconds` is what the probe took."""

    reason: ProbeReason
    message: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether a CA can be expected to find what it looks for."""
        return self.reason in (ProbeReason.OK, ProbeReason.REDIRECTS_TO_HTTPS)


def probe_endpoints(
    addresses: Sequence[tuple[str, int]],
    token: str,
    expected: str,
    *,
    deadline: float,
    foreign_budget: float = 45.0,
    connect_budget: float = 5.0,
) -> ProbeResult:
    """Asks every responder (IP address, port) until it shows the key authorization, or its budget is over.

    One that answers, but not with that, has `foreign_budget` seconds from the start: its watch may be frozen for 40.
    One that gives no answer has `connect_budget`. `deadline` is a time of `time.monotonic`.
    """
    started = time.monotonic()
    if not addresses:
        return ProbeResult(ProbeReason.NO_ENDPOINTS, "no responder is ready", 0.0)

    def ask(address: tuple[str, int]) -> Seen:
        look = partial(fetch, *address, CHALLENGE_PATH + token, expected, limit=deadline)
        return _until_right(look, started, deadline, foreign_budget, connect_budget)

    answers = zip(addresses, at_once(ask, addresses), strict=True)
    wrong = [(address, seen) for address, seen in answers if seen.reason is not ProbeReason.OK]
    seconds = time.monotonic() - started
    if not wrong:
        return ProbeResult(ProbeReason.OK, f"all {len(addresses)} responders answer", seconds)
    (host, port), seen = wrong[0]
    message = f"{len(wrong)} of {len(addresses)} responders do not answer yet; {host} port {port}: {seen.detail}"
    unreachable = any(seen.reason is ProbeReason.UNREACHABLE for _, seen in wrong)
    return ProbeResult(ProbeReason.UNREACHABLE if unreachable else ProbeReason.FOREIGN, message, seconds)


def probe_host(
    host: str,
    token: str,
    expected: str,
    *,
    deadline: float,
    port: int = 80,
    foreign_budget: float = 60.0,
    connect_budget: float = 3.0,
    started: float | None = None,
    redirect_ports: frozenset[int] = REDIRECT_PORTS,
) -> ProbeResult:
    """Asks `http://HOST/.well-known/acme-challenge/TOKEN` until it shows the key authorization.

    After a foreign answer it asks again until `foreign_budget` seconds after `started` (default: now), while nothing
    answers HTTP until `connect_budget`. `deadline` is a time of `time.monotonic` after which no attempt begins but
    the first.
    """
    begun = time.monotonic()
    look = partial(fetch_following, host, port, CHALLENGE_PATH + token, expected, redirect_ports=redirect_ports)
    seen = _until_right(look, begun if started is None else started, deadline, foreign_budget, connect_budget)
    seconds = time.monotonic() - begun
    return ProbeResult(seen.reason, f"{host}: {seen.detail}", seconds)


def probe_hosts(
    challenges: Sequence[HostChallenge], *, deadline: float, port: int = 80, foreign_budget: float = 60.0
) -> list[ProbeResult]:
    """`probe_host` for many, eight at a time; results in the order of `challenges`.

    All budgets run from now; a host whose turn comes late is asked at least once.
    """
    ask = partial(probe_host, deadline=deadline, port=port, foreign_budget=foreign_budget, started=time.monotonic())
    return at_once(lambda asked: ask(asked.host, asked.token, asked.key_authorization), challenges)


def _until_right(
    look: Callable[[], Seen], started: float, deadline: float, foreign_budget: float, connect_budget: float
) -> Seen:
    """Looks until the key authorization is there or its time is over, with pauses that begin short and grow gently.

    The last of what was seen.
    """
    silent_since, pause = started, _FIRST_PAUSE
    while True:
        seen = look()
        if seen.reason is ProbeReason.OK:
            return seen
        if seen.reason in (ProbeReason.FOREIGN, ProbeReason.FOREIGN_OVER_HTTPS):
            silent_since = time.monotonic()
            end = started + foreign_budget
        else:
            end = silent_since + connect_budget
        if time.monotonic() + pause > min(end, deadline):
            return seen
        time.sleep(pause)
        pause = min(pause * 1.3, _LONGEST_PAUSE)
