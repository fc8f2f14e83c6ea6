"""Proving control over an order's hosts (RFC 8555, section 7.5.1), and polling until the CA has decided."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from certs.hostnames import normalize
from issuer_job.acme_client import (
    AcmeClient,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    Authorization,
    Challenge,
    Order,
)
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.attempt.solver import HostChallenge
from issuer_job.background import at_once
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.issuers.schema import Issuer
from issuer_job.polling import Poll
from issuer_job.record.record import Problem

LAST_POLL = timedelta(seconds=5)
"""From the last poll to the Job's deadline: at the deadline itself nothing can be asked or written any more."""
PAUSES = (1.0, 3.0, 9.0)
"""Seconds between tries to reach a CA that does not answer properly."""


class AuthorizationFailed(Exception):
    """The CA could not validate a host, and says why."""

    def __init__(self, problem: AcmeProblem, host: str) -> None:
        super().__init__(f"{host}: {problem}")
        self.problem = problem
        self.host = host


class _HasRetryAfter(Protocol):
    @property
    def retry_after(self) -> timedelta | None: ...


T = TypeVar("T", bound=_HasRetryAfter)
R = TypeVar("R")


def authorize(attempt: Attempt, client: AcmeClient, order: Order, issuer: Issuer, solvers: AttemptSolvers) -> None:
    """Prove control over every host that is not proven yet. Raises AuthorizationFailed, Later, AcmeError, KubeError.

    What was presented has to stay until this returns: a CA looks from several places, and perhaps again.
    """
    authorizations = sorted(at_once(client.authorization, order.authorization_urls), key=lambda one: one.host)
    for authorization in authorizations:
        _not_failed(authorization)
    pending = [authorization for authorization in authorizations if not authorization.is_final]
    for authorization in pending:  # the CA may have proofs of a domain above for long: those need none of ours
        _asked_for(authorization, {normalize(host) for host in order.identifiers})
    if pending:
        challenges = [_host_challenge(attempt, client, authorization, issuer) for authorization in pending]
        solvers.present(challenges, issuer)
        solved = [(one, challenge.solver.challenge_type) for one, challenge in zip(pending, challenges, strict=True)]
        at_once(lambda pair: _tell(attempt, client, *pair), solved)
        attempt.step("challenges-answered", hosts=sorted(challenge.host for challenge in challenges))
        again = partial(_again, attempt, client)
        for authorization in poll_until(attempt, again, lambda one: one.is_final, pending, what="authorization"):
            _not_failed(authorization)
    attempt.step("authorized", hosts=[authorization.name for authorization in authorizations])


def poll_until(
    attempt: Attempt, fetch: Callable[[T], T], done: Callable[[T], bool], seen: list[T], *, what: str
) -> list[T]:
    """Ask for each until it is done: quickly at first, then no sooner than the CA wishes for any of them.

    Raises Later before the deadline.
    """
    poll = Poll(started=attempt.clock(), deadline=attempt.deadline - LAST_POLL)
    while pending := [one for one in seen if not done(one)]:
        wishes = (one.retry_after for one in pending if one.retry_after is not None)
        delay = poll.delay(now=attempt.clock(), retry_after=max(wishes, default=None))
        if delay is None:
            detail = f"the {what} was not final before this Job's deadline"
            raise Later(Problem(type="timeout", detail=detail, step=what))
        attempt.sleep(delay.total_seconds())
        seen = at_once(lambda one: one if done(one) else fetch(one), seen)
    return seen


def _host_challenge(
    attempt: Attempt, client: AcmeClient, authorization: Authorization, issuer: Issuer
) -> HostChallenge:
    host = authorization.name
    classes = [source.ingress_class.name for source in attempt.record.sources if host in source.hosts]
    ingress_class = classes[0] if classes else None
    solver = issuer.solver(host, ingress_class)
    if solver is None:
        detail = f"the issuer has no solver for {host}: add one to its solvers" + (
            ", with dns01" if authorization.wildcard else ""
        )
        raise AuthorizationFailed(AcmeProblem("unsupportedChallenge", detail), host)
    token = _challenge(authorization, solver.challenge_type).token
    return HostChallenge(host, token, client.key_authorization(token), solver, ingress_class)


def _tell(attempt: Attempt, client: AcmeClient, authorization: Authorization, kind: str) -> None:
    """Tell the CA to look at one challenge. Without an answer it may be looking already: ask before telling again."""
    told = False

    def tell() -> None:
        nonlocal told
        now = client.authorization(authorization.url) if told else authorization
        told = True
        if now.is_final or (challenge := _challenge(now, kind)).status != "pending":
            return
        try:
            client.answer(challenge)
        except AcmeUnavailable:
            raise
        except AcmeError:
            # Another pod or record with this order was faster, and some CAs refuse to be told twice.
            now = client.authorization(authorization.url)
            if not now.is_final and _challenge(now, kind).status == "pending":
                raise

    _patiently(attempt, tell)


def _again(attempt: Attempt, client: AcmeClient, authorization: Authorization) -> Authorization:
    return _patiently(attempt, lambda: client.authorization(authorization.url))


def _patiently(attempt: Attempt, ask: Callable[[], R]) -> R:
    """Ask, and a few times again if the CA does not answer properly. Raises AcmeError."""
    for pause in PAUSES:
        try:
            return ask()
        except AcmeUnavailable as error:
            if not worth_a_wait(attempt, error, pause):
                raise
    return ask()


def worth_a_wait(attempt: Attempt, error: AcmeUnavailable, pause: float) -> bool:
    """Whether to ask the CA again within this Job, in `pause` seconds or when it wishes; waits if so."""
    wait = max(pause, error.retry_after.total_seconds() if error.retry_after else 0.0)
    if wait > PAUSES[-1] or attempt.clock() + timedelta(seconds=wait) >= attempt.deadline - LAST_POLL:
        return False
    attempt.step("ca-unavailable", problem=str(error.problem), step=error.step, again_in=wait)
    attempt.sleep(wait)
    return True


def _challenge(authorization: Authorization, kind: str) -> Challenge:
    for challenge in authorization.challenges:
        if challenge.type == kind:
            return challenge
    detail = f"the CA offers no {kind} challenge for this host"
    raise AuthorizationFailed(AcmeProblem("unsupportedChallenge", detail), authorization.host)


def _asked_for(authorization: Authorization, hosts: Collection[str]) -> None:
    """A CA gets no proof of what was not ordered: it would be put into DNS, or on a route, in the order's name."""
    host = normalize(authorization.host)
    if f"*.{host}" not in hosts and (authorization.wildcard or host not in hosts):
        detail = f"the CA wants a proof for {host}, which was not ordered"
        raise AuthorizationFailed(AcmeProblem("foreignAuthorization", detail), next(iter(hosts)))


def _not_failed(authorization: Authorization) -> None:
    if authorization.problem is not None:
        raise AuthorizationFailed(authorization.problem, authorization.host)
