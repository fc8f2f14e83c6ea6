"""When a record's certificate is due, and what its order may say it replaces (RFC 9773). Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from certs.duration import format_duration
from certs.hostnames import covers, without_redundant
from certs.renewal import renewal_due_at, shortest_life
from issuer_job.record.phases import FIRST_BACKOFF, ISSUE_DEADLINE, SWEEP_INTERVAL
from issuer_job.record.record import Intent, Issued, Record

LEAST_AGE = timedelta(hours=1)
"""Of a certificate that is renewed because somebody asks for it: who asks anew all the time gets one an hour."""
AT_ONCE = timedelta(hours=1)
"""How long ago the window begins that CAs give a certificate that shall be renewed at once, as it is revoked."""


def shortest_carried(interval: timedelta) -> timedelta:
    """The shortest life that sweeps every `interval` carry even if one renewal fails: a shorter one may end before
    the next certificate is there.
    """
    return shortest_life(interval=interval, order=ISSUE_DEADLINE, pause=FIRST_BACKOFF)


def too_short(life: timedelta, interval: timedelta, *, left: timedelta | None = None) -> str:
    """What is wrong with certificates that live so long where sweeps come every `interval`; empty if nothing is.

    `left` is what was left of it when it came, with a notBefore that is long past: the second half of a life counts.
    """
    least, left = shortest_carried(interval), life if left is None else left
    if life >= least and left >= least / 2:
        return ""
    lives = format_duration(life if life < least else left)
    return (
        f"with a sweep every {format_duration(interval)} a certificate that lives {lives} may end "
        f"before the next one is there: from {format_duration(least)} on there is time for a renewal that fails"
    )


def too_short_briefly(life: timedelta, interval: timedelta) -> str:
    """The same, for a warning."""
    least = shortest_carried(interval)
    lives, enough = format_duration(life), format_duration(least)
    return f"lives {lives}, and may end before it is renewed: less than {enough}" if life < least else ""


def asked_at(record: Record) -> datetime | None:
    """When what is issued is due because it is older than is asked for; None if it is not, or nothing is issued.

    One that its owner put there is as old as it says.
    """
    issued, asked = record.issued, record.renewal_asked
    if issued is None or asked is None or not is_older(issued, asked):
        return None
    return asked_time(issued, asked)


def asked_time(issued: Issued, asked: datetime) -> datetime:
    """When a certificate is due that is older than is asked for."""
    return max(asked, _made(issued) + LEAST_AGE)


def is_older(issued: Issued, moment: datetime) -> bool:
    """Whether the certificate was made before."""
    return _made(issued) < moment


def _made(issued: Issued) -> datetime:
    return issued.at if issued.directory else min(issued.at, issued.not_before)


def due_at(record: Record, *, interval: timedelta) -> datetime:
    """When the renewal of what is issued is due, by its age or because it is asked for; sweeps come by every
    `interval`. ValueError if nothing is issued.

    What was hardly in use is renewed for what the CA has learned of it since, as that it has to be revoked, and for
    nothing else: neither by a window that every certificate of the CA has, nor by dates that make it old at once.
    """
    issued = issued_of(record)
    by_age = renewal_due_at(
        not_before=issued.not_before,
        not_after=issued.not_after,
        renew_before=timedelta(seconds=record.intent.settings.renew_before) or None,
        suggested=issued.renewal.at if issued.renewal else None,
        interval=interval,
        spread_key=record.name,
    )
    if issued.directory and not (issued.vouched or _is_recalled(record)):
        by_age = max(by_age, issued.at + (issued.not_after - issued.at) / 10)
    return min(by_age, asked_at(record) or by_age)


def _is_recalled(record: Record) -> bool:
    """Whether the CA suggests a moment that can be about this one certificate: its window begins after it was
    made, or just before. Not if the one before it was replaced as early: there it suggests that all the time.
    """
    issued = issued_of(record)
    window, before = issued.renewal, next((one for one in record.former[::-1] if one.directory), None)
    if window is None or window.start is None or window.start <= issued.not_before - AT_ONCE:
        return False
    return before is None or issued.at - before.at >= before.lifetime / 10


def is_for(issued: Issued, intent: Intent, *, but_formats: bool = False) -> bool:
    """Whether the certificate is for what is wanted, or for that and further hosts: it is enough until it is due.

    `but_formats`: in whatever formats it was written. One with a host that its namespace has lost is to be replaced.
    """
    if set(issued.forfeited) - set(intent.hosts) or not all(covers(issued.hosts, host) for host in intent.hosts):
        return False
    whole = replace(intent, hosts=issued.hosts)
    if issued.intent_hash == whole.hash:
        return True
    return but_formats and issued.intent_hash == _in_formats(whole, issued.formats).hash


def _in_formats(intent: Intent, formats: tuple[str, ...]) -> Intent:
    return replace(intent, settings=replace(intent.settings, formats=formats))


def serves(record: Record) -> bool:
    """Whether what is issued is for what is wanted."""
    return record.issued is not None and is_for(record.issued, record.intent, but_formats=True)


def ends_soon(record: Record, *, now: datetime, interval: timedelta) -> bool:
    """Whether there is little time left to renew the certificate: a tenth of its life, or three sweeps.

    One that its owner put there ends when he likes, so that it is no reason to go beyond what all share.
    """
    issued = record.issued
    if issued is None or not issued.directory:
        return False
    return issued.not_after - now < max(issued.lifetime / 10, 3 * interval)


def is_pressing(record: Record, *, now: datetime, interval: timedelta = SWEEP_INTERVAL) -> bool:
    """Whether its certificate ends soon or was revoked: limits are kept for the CA's sake, and here it may speak for
    itself.
    """
    return record.is_revoked or ends_soon(record, now=now, interval=interval)


def replaceable(record: Record, *, directory: str, account: str | None = None) -> str:
    """The CertID that an order may name as replaced (RFC 9773, section 5), empty if none.

    The order's `account` must be the one that ordered it; None if only its Job will know. Which one that was is not
    known of a certificate that was found: then the CA says whether it may be replaced.
    """
    issued = record.issued
    if issued is None or issued.directory != directory:
        return ""
    if account is not None and issued.account not in {"", account}:
        return ""
    return issued.cert_id if set(without_redundant(issued.hosts)) & set(record.intent.identifiers) else ""


def issued_of(record: Record) -> Issued:
    """What is issued. Raises ValueError if nothing is."""
    if record.issued is None:
        raise ValueError(f"{record.name} has no certificate")
    return record.issued
