"""The Secret's side of an attempt: is it right already, may it be written, and the conditional write."""

from __future__ import annotations

from datetime import datetime, timedelta

from certs.trust import IssuerTrust
from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.attempt.attempt import Attempt, Later, NamespaceGone, Permanent, Unwanted
from issuer_job.cluster.api import AlreadyExists, Conflict
from issuer_job.issue import formats
from issuer_job.issue.obtaining.registry import Obtained
from issuer_job.record import transitions
from issuer_job.record.record import Issued, Problem
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets import judgement
from issuer_job.tenant_secrets.access import Look, Refusal, SecretRefused
from issuer_job.tenant_secrets.bodies import placeholder_secret, tls_secret

ROUNDS = 10
"""How often a Secret is written that others keep writing. It is no `changes.change`: nobody may read it, a look is a
write that is not carried out, and each real write has to be in the record before.
"""


def look(attempt: Attempt) -> Look:
    """What the Secret holds. Raises Later, Permanent."""
    try:
        return attempt.looker(attempt.cluster, attempt.record)
    except SecretRefused as refused:
        raise _stop(refused, "look") from None


def right_already(attempt: Attempt, seen: Look, trust: IssuerTrust) -> Issued | None:
    """What the Secret holds, if that is what is wanted so that no order is needed; formats that it lacks are added.

    An order that is under way is finished first. Raises Permanent, Later, that also if somebody writes over what was
    issued again and again.
    """
    state = transitions.attempt_of(attempt.record)
    if not seen.found or state.order_url:
        return None
    for _ in range(ROUNDS):
        record, now = attempt.record, attempt.clock()
        found = judgement.judge(record, seen, trust, now=now, interval=state.interval, renews=state.renews)
        attempt.step("look", verdict=found.reason, message=found.message)
        if found.reason is judgement.Misfit.OTHER_TOOL:
            raise Permanent(judgement.of_other_tool(record, seen))
        if found.until is not None:
            raise Later(judgement.overwritten(record, seen, found), wait=found.until - now, by_ca=True)
        if found.issued is None or not found.lacks:
            return found.issued
        chain, key = seen.stored.tls_crt or b"", seen.stored.tls_key or b""
        issuer = attempt.record.issuer if found.issued.directory else ""
        seen = put(attempt, seen, issuer=issuer, chain_pem=chain, key_pem=key, not_after=found.issued.not_after)
    return found.issued


def preflight(attempt: Attempt, seen: Look) -> Look:
    """Make sure that the Secret can be written before an order is spent: a missing placeholder is made for real, and
    one in the place of what serves nobody.

    One that its owner makes is not made again: without it nobody wants the certificate. Returns what is stored then.
    Raises Later, Permanent, Unwanted.
    """
    if not seen.found and attempt.record.only_its_secret_asks:
        raise Unwanted("the Secret that asked for it is gone")
    formats.passwords(attempt)
    body = placeholder_secret(attempt.record, seen, now=attempt.clock())
    spoilt = judgement.is_spoilt(seen, now=attempt.clock())
    try:
        written = secrets.write(attempt.cluster, body, dry_run=seen.found and not spoilt)
    except (Conflict, AlreadyExists):
        return look(attempt)  # somebody writes it right now, so it can be written
    except SecretRefused as refused:
        raise _stop(refused, "preflight") from None
    if spoilt:
        events.tell(attempt, "CertificateDamaged", judgement.DAMAGED, warning=True)
    return seen if seen.found and not spoilt else secrets.seen(written)


def install(attempt: Attempt, obtained: Obtained, seen: Look) -> Issued:
    """Put the certificate into the Secret that was seen; if it is another one by now, look and try again.

    Raises Later, Permanent, Superseded.
    """
    chain, key, certificate = obtained.chain_pem, obtained.key_pem, obtained.certificate
    put_back = judgement.overwrites(attempt.record, seen)
    for _ in range(ROUNDS):
        attempt.advance(transitions.installing, secret_uid=seen.uid, secret_version=seen.resource_version)
        if not seen.found:
            # A create cannot be conditional: the one of an attempt that was superseded a moment ago must not put
            # an old certificate there. So the placeholder comes first, and the certificate replaces just that.
            seen = preflight(attempt, seen)
            continue
        issuer, end = attempt.record.issuer, certificate.not_after
        seen = put(attempt, seen, issuer=issuer, chain_pem=chain, key_pem=key, not_after=end)
        if (seen.stored.tls_crt, seen.stored.tls_key) == (chain, key):  # or another pod of this attempt was faster
            now = attempt.clock()
            return judgement.installed(attempt.record, certificate, seen, now=now, ordered=True, put_back=put_back)
    detail = "the Secret keeps changing while its certificate is written"
    raise Later(Problem(type="secretChanging", detail=detail, step="install"))


def put(attempt: Attempt, seen: Look, *, issuer: str, chain_pem: bytes, key_pem: bytes, not_after: datetime) -> Look:
    """Write a certificate into the Secret that was seen; what it holds then, of others too if they were faster."""
    body = tls_secret(
        attempt.record,
        seen,
        v.SecretState.ISSUED,
        chain_pem=chain_pem,
        key_pem=key_pem,
        issuer=issuer,
        not_after=not_after,
        further=formats.render(attempt, chain_pem=chain_pem, key_pem=key_pem),
    )
    try:
        # The answer is what was stored, whatever other admission plugins did to it.
        return secrets.seen(secrets.write(attempt.cluster, body))
    except (Conflict, AlreadyExists):
        return look(attempt)
    except SecretRefused as refused:
        raise _stop(refused, "install") from None


def _stop(refused: SecretRefused, step: str) -> Later | Permanent | NamespaceGone:
    if refused.reason is Refusal.TERMINATING:
        return NamespaceGone(str(refused))
    problem = Problem(type=str(refused.reason), detail=str(refused), step=step)
    if refused.reason.is_permanent:
        return Permanent(problem)
    return Later(problem, wait=timedelta(seconds=30) if refused.reason is Refusal.NOT_IN_FORCE else None)
