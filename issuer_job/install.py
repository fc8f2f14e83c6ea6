"""The Secret's side of an attempt: is it right already, may it be written, and the conditional write."""

from __future__ import annotations

from datetime import timedelta

from certs.chain import IssuedCertificate, describe
from certs.errors import CertError
from certs.validity import judge
from issuer_job import objects, renewal, secrets, transitions
from issuer_job import vocabulary as v
from issuer_job.attempt import Attempt, Later, NamespaceGone, Permanent
from issuer_job.kube import AlreadyExists, Conflict, Json
from issuer_job.new_order import RENEWAL
from issuer_job.order import Obtained
from issuer_job.placeholders import placeholder_secret
from issuer_job.record import Issued, Problem
from issuer_job.secrets import Look, Refusal, SecretRefused

ROUNDS = 10


def look(attempt: Attempt) -> Look:
    """What the Secret holds. Raises Later, Permanent."""
    try:
        return secrets.look(attempt.cluster, attempt.record.namespace, attempt.record.secret_name)
    except SecretRefused as refused:
        raise _stop(refused, "look") from None


def right_already(attempt: Attempt, seen: Look) -> Issued | None:
    """Whether the Secret holds what is wanted, so that no order is needed; what it holds then.

    Either certjob's own last certificate for just this intent, not yet due, or a good one that its owner put
    there; if the record knows of none, also one from this issuer.
    """
    record, former = attempt.record, attempt.record.issued
    state = transitions.attempt_of(record)
    if not seen.found or state.order_url:
        return None
    if state.reason == RENEWAL and _holds_serial(seen, former):
        return None  # the sweep knows how often it comes by, so it says when a renewal is due
    known = former is not None and former.intent_hash == record.intent.hash
    due = renewal.due_at(record, interval=renewal.SWEEP_INTERVAL) if known and _holds_serial(seen, former) else None
    verdict = judge(
        seen.stored,
        hosts=record.intent.hosts,
        now=attempt.clock(),
        renew_before=renewal.renew_before(record),
        renew_at=due,
        spread_key=record.name,
    )
    attempt.step("look", verdict=verdict.reason, message=verdict.message)
    if not verdict.ok or seen.stored.tls_crt is None:
        return None
    if former is None:
        ours = seen.issuer in {"", record.intent.settings.issuer}
        return _issued(attempt, describe(seen.stored.tls_crt)) if ours else None
    if not known:
        return None
    return former if due is not None else _issued(attempt, describe(seen.stored.tls_crt))


def _holds_serial(seen: Look, former: Issued | None) -> bool:
    try:
        return former is not None and describe(seen.stored.tls_crt or b"").serial == former.serial
    except CertError:
        return False


def preflight(attempt: Attempt, seen: Look) -> Look:
    """Make sure that the Secret can be written before an order is spent: a missing placeholder is made for real.

    Returns what is stored then. Raises Later, Permanent.
    """
    body = placeholder_secret(
        attempt.record, now=attempt.clock(), uid=seen.uid, resource_version=seen.resource_version
    )
    try:
        written = secrets.write(attempt.cluster, body, dry_run=seen.found)
    except (Conflict, AlreadyExists):
        return look(attempt)  # somebody writes it right now, so it can be written
    except SecretRefused as refused:
        raise _stop(refused, "preflight") from None
    return seen if seen.found else secrets.seen(written)


def install(attempt: Attempt, obtained: Obtained, seen: Look) -> Issued:
    """Put the certificate into the Secret that was seen; if it is another one by now, look and try again.

    Raises Later, Permanent, Superseded.
    """
    for _ in range(ROUNDS):
        attempt.advance(transitions.installing, secret_uid=seen.uid, secret_version=seen.resource_version)
        if not seen.found:
            # A create cannot be conditional: the one of an attempt that was superseded a moment ago must not put
            # an old certificate there. So the placeholder comes first, and the certificate replaces just that.
            seen = preflight(attempt, seen)
            continue
        try:
            written = secrets.write(attempt.cluster, _secret(attempt, obtained, seen))
        except (Conflict, AlreadyExists):
            seen = look(attempt)
            if _holds(seen, obtained):
                return _issued(attempt, obtained.certificate)  # another pod of this attempt was faster
            continue
        except SecretRefused as refused:
            raise _stop(refused, "install") from None
        # The answer is what was stored, whatever other admission plugins did to it.
        seen = secrets.seen(written)
        if _holds(seen, obtained):
            return _issued(attempt, obtained.certificate)
    detail = "the Secret keeps changing while its certificate is written"
    raise Later(Problem(type="secretChanging", detail=detail, step="install"))


def _secret(attempt: Attempt, obtained: Obtained, seen: Look) -> Json:
    record = attempt.record
    return objects.tls_secret(
        namespace=record.namespace,
        name=record.secret_name,
        state=v.SecretState.ISSUED,
        cert_chain_pem=obtained.chain_pem,
        key_pem=obtained.key_pem,
        hosts=record.intent.hosts,
        issuer=record.intent.settings.issuer,
        not_after=obtained.certificate.not_after,
        uid=seen.uid,
        resource_version=seen.resource_version,
    )


def _holds(seen: Look, obtained: Obtained) -> bool:
    return seen.stored.tls_crt == obtained.chain_pem and seen.stored.tls_key == obtained.key_pem


def _issued(attempt: Attempt, certificate: IssuedCertificate) -> Issued:
    state = transitions.attempt_of(attempt.record)
    return Issued(
        hosts=attempt.record.intent.hosts,
        intent_hash=attempt.record.intent.hash,
        directory=state.directory,
        account=state.account,
        epoch=state.epoch,
        key_id=certificate.key_id,
        serial=certificate.serial,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        at=attempt.clock(),
        cert_id=certificate.ari_cert_id or "",
    )


def _stop(refused: SecretRefused, step: str) -> Later | Permanent | NamespaceGone:
    if refused.reason is Refusal.TERMINATING:
        return NamespaceGone(str(refused))
    problem = Problem(type=str(refused.reason), detail=str(refused), step=step)
    if refused.reason.is_permanent:
        return Permanent(problem)
    return Later(problem, wait=timedelta(seconds=30) if refused.reason is Refusal.NOT_IN_FORCE else None)
