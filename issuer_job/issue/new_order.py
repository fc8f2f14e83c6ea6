"""newOrder (RFC 8555, section 7.4) of a renewal: is it really time, and which certificate does it replace?"""

from __future__ import annotations

from datetime import datetime, timedelta

from issuer_job.acme_client import AcmeClient, AcmeError, AcmeUnavailable, Order
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.record import transitions
from issuer_job.record.record import Problem, Record
from issuer_job.record.renewal import due_at

CLOCK_SKEW = "clockSkew"
CLOCK_TOLERANCE = timedelta(minutes=10)


def check_clock(attempt: Attempt, client: AcmeClient) -> None:
    """Raise Later for a renewal that is due only because the cluster's clock is ahead of the CA's."""
    ca_time = client.server_time
    if ca_time is None:
        return
    early = too_early(attempt.record, now=attempt.clock(), ca_time=ca_time)
    if early is None:
        return
    ahead = timedelta(seconds=int((attempt.clock() - ca_time).total_seconds()))
    detail = f"the cluster's clock is ahead of the CA's by {ahead}: by the CA's clock the renewal is not due yet"
    raise Later(Problem(type=CLOCK_SKEW, detail=detail, step="newOrder"), wait=early)


def too_early(record: Record, *, now: datetime, ca_time: datetime) -> timedelta | None:
    """How long a renewal has to wait by the CA's clock; None if it need not, or if it is not for its age."""
    attempt = transitions.attempt_of(record)
    if not attempt.renews or record.issued is None or now - ca_time <= CLOCK_TOLERANCE:
        return None
    due = due_at(record, interval=attempt.interval)
    return due - ca_time if due <= now and due - ca_time > CLOCK_TOLERANCE else None


def place(attempt: Attempt, resolved: Resolved, client: AcmeClient, *, replaces: str) -> tuple[Order, str]:
    """newOrder; the order, and the CertID that it names: none if the CA would not have it.

    Refused for anything but a limit it is tried once more without (RFC 9773, section 5). Raises AcmeError.
    """
    profile = resolved.settings.profile or None
    hosts, lifetime = attempt.record.intent.identifiers, resolved.issuer.wanted_lifetime
    not_after = (client.server_time or attempt.clock()) + lifetime if lifetime else None
    try:
        order = client.new_order(hosts, profile=profile, replaces=replaces or None, not_after=not_after)
        return order, replaces
    except AcmeError as refusal:
        # A CA may also have an internal error over what is replaced. It would have it again and again.
        unavailable = isinstance(refusal, AcmeUnavailable) and refusal.problem.type != "serverInternal"
        if not replaces or unavailable or refusal.is_rate_limited:
            raise
        attempt.step("replaces-refused", replaces=replaces, problem=str(refusal.problem))
    return client.new_order(hosts, profile=profile, not_after=not_after), ""
