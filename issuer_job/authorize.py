"""Proving control over an order's hosts (RFC 8555, section 7.5.1), and polling until the CA has decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from issuer_job import http01
from issuer_job.acme_client import AcmeClient, Authorization, Challenge, Order
from issuer_job.acme_client import Problem as AcmeProblem
from issuer_job.attempt import Attempt, Later
from issuer_job.issuers import Issuer
from issuer_job.polling import Poll
from issuer_job.probe import HostChallenge
from issuer_job.record import Problem

CHALLENGE = "http-01"


class AuthorizationFailed(Exception):
    """The CA could not validate a host, and says why."""

    def __init__(self, problem: AcmeProblem, host: str) -> None:
        super().__init__(f"{host}: {problem}")
        self.problem = problem
        self.host = host


class _Polled(Protocol):
    @property
    def retry_after(self) -> timedelta | None: ...


T = TypeVar("T", bound=_Polled)


def authorize(attempt: Attempt, client: AcmeClient, order: Order, issuer: Issuer) -> None:
    """Prove control over every host that is not proven yet. Raises AuthorizationFailed, Later, AcmeError."""
    authorizations = [client.authorization(url) for url in order.authorization_urls]
    for authorization in authorizations:
        _not_failed(authorization)
    pending = [authorization for authorization in authorizations if not authorization.is_final]
    challenges = {authorization.host: _challenge(authorization) for authorization in pending}
    if challenges:
        _answer(attempt, client, challenges, issuer)
    settled = [_settled(attempt, client, authorization) for authorization in pending]
    for authorization in settled:
        _not_failed(authorization)
    attempt.step("authorized", hosts=[authorization.host for authorization in authorizations])


def poll_until(attempt: Attempt, fetch: Callable[[], T], done: Callable[[T], bool], *, what: str, first: T) -> T:
    """Ask until it is done: quickly at first, then as the CA's Retry-After says. Raises Later at the deadline."""
    poll = Poll(started=attempt.clock(), deadline=attempt.deadline)
    seen = first
    while not done(seen):
        delay = poll.delay(now=attempt.clock(), retry_after=seen.retry_after)
        if delay is None:
            detail = f"the {what} was not final before this Job's deadline"
            raise Later(Problem(type="timeout", detail=detail, step=what))
        attempt.sleep(delay.total_seconds())
        seen = fetch()
    return seen


def _answer(attempt: Attempt, client: AcmeClient, challenges: dict[str, Challenge], issuer: Issuer) -> None:
    """Have every key authorization in place, then tell the CA to look."""
    http01.present(
        attempt,
        [
            HostChallenge(host, challenge.token, client.key_authorization(challenge.token))
            for host, challenge in challenges.items()
        ],
        issuer,
    )
    for challenge in challenges.values():
        if challenge.status == "pending":
            client.answer(challenge)
    attempt.step("challenges-answered", hosts=sorted(challenges))


def _settled(attempt: Attempt, client: AcmeClient, authorization: Authorization) -> Authorization:
    return poll_until(
        attempt,
        lambda: client.authorization(authorization.url),
        lambda seen: seen.is_final,
        what="authorization",
        first=authorization,
    )


def _challenge(authorization: Authorization) -> Challenge:
    for challenge in authorization.challenges:
        if challenge.type == CHALLENGE:
            return challenge
    detail = f"the CA offers no {CHALLENGE} challenge for this host"
    raise AuthorizationFailed(AcmeProblem("unsupportedChallenge", detail), authorization.host)


def _not_failed(authorization: Authorization) -> None:
    if authorization.problem is not None:
        raise AuthorizationFailed(authorization.problem, authorization.host)
