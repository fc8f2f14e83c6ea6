"""Proving control over an order's hosts (RFC 8555, section 7.5.1), and polling until the CA has decided."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from msgspec.structs import replace

from certs.hostnames import first_few, normalize
from issuer_job.account.patience import LAST_POLL
from issuer_job.acme_client import AcmeClient, AcmeProblem, Authorization, Order
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.background import at_once
from issuer_job.issue.obtaining.proof import AuthorizationFailed, Dead, Proof, look_again, proof_of, tell
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.issuers.schema import Issuer
from issuer_job.polling import Poll
from issuer_job.record.record import Problem


class OrderUseless(Exception):
    """The order is invalid, expired, another's, or one that can no longer be proven: forget it and order again."""


class _HasRetryAfter(Protocol):
    @property
    def retry_after(self) -> timedelta | None: ...


T = TypeVar("T", bound=_HasRetryAfter)


def authorize(
    attempt: Attempt,
    client: AcmeClient,
    order: Order,
    issuer: Issuer,
    solvers: AttemptSolvers,
    *,
    inherited: bool = False,
) -> None:
    """Prove control over every host that is not proven yet. `inherited`: an earlier pod or attempt has made the
    order, and may have failed with it.

    What was presented has to stay until this returns: a CA looks from several places, and perhaps again.
    Raises OrderUseless if that order cannot be proven any more, AuthorizationFailed, Later, AcmeError, KubeError.
    """
    authorizations = sorted(at_once(client.authorization, order.authorization_urls), key=lambda one: one.host)
    try:
        for authorization in authorizations:
            if authorization.problem is not None:
                raise Dead(authorization.problem, authorization.name)
        pending = [authorization for authorization in authorizations if not authorization.is_final]
        for authorization in pending:  # the CA may have proofs of a domain above for long: those need none of ours
            _asked_for(authorization, {normalize(host) for host in order.identifiers})
        proofs = [proof_of(attempt, client, authorization, issuer) for authorization in pending]
    except Dead as dead:
        if inherited:
            raise OrderUseless(f"{dead.host} could not be proven with it: {dead.problem}") from None
        raise
    if proofs:
        _prove(attempt, client, proofs, issuer, solvers)
    attempt.step("authorized", hosts=[authorization.name for authorization in authorizations])


def _prove(
    attempt: Attempt, client: AcmeClient, proofs: list[Proof], issuer: Issuer, solvers: AttemptSolvers
) -> None:
    """Present the proofs, have the CA look at them, and wait until it has decided on all. Raises as `authorize`."""
    solvers.present([proof.challenge for proof in proofs], issuer)
    at_once(partial(tell, attempt, client), proofs)
    attempt.step("challenges-answered", hosts=sorted(proof.challenge.host for proof in proofs))
    try:
        poll_until(
            attempt, partial(look_again, attempt, client), lambda one: not one.is_open, proofs, what="authorization"
        )
    except Later as timeout:
        if not any(proof.problem for proof in proofs):
            waiting = first_few([proof.challenge.host for proof in proofs if proof.is_open])
            raise Later(replace(timeout.problem, detail=f"{timeout.problem.detail}: {waiting}")) from None
    for proof in proofs:
        if proof.problem is not None:
            raise AuthorizationFailed(proof.problem, proof.challenge.host)


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


def _asked_for(authorization: Authorization, hosts: Collection[str]) -> None:
    """A CA gets no proof of what was not ordered: it would be put into DNS, or on a route, in the order's name."""
    host = normalize(authorization.host)
    if f"*.{host}" not in hosts and (authorization.wildcard or host not in hosts):
        detail = f"the CA wants a proof for {host}, which was not ordered"
        raise AuthorizationFailed(AcmeProblem("foreignAuthorization", detail), next(iter(hosts)))
