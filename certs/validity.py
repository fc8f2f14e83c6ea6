"""Is the certificate in a Secret good, and if not, why? Rules evaluated in order; the first that applies answers."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from certs.chain import CLOCK_SKEW, dns_names, has_key, parse_chain
from certs.errors import CertError
from certs.hostnames import covers
from certs.keys import key_from_pem
from certs.placeholder import is_placeholder


class ValidityReason(StrEnum):
    """What a verdict rests on, in the order of the rules."""

    MISSING = "Missing"
    NO_CERTIFICATE = "NoCertificate"
    UNREADABLE = "Unreadable"
    KEY_DOES_NOT_MATCH = "KeyDoesNotMatch"
    PLACEHOLDER = "Placeholder"
    NOT_YET_VALID = "NotYetValid"
    EXPIRED = "Expired"
    HOSTS_NOT_COVERED = "HostsNotCovered"
    RENEWAL_DUE = "RenewalDue"
    GOOD = "Good"


@dataclass(frozen=True)
class StoredCertificate:
    """The data of a kubernetes.io/tls Secret, decoded from base64. The key never shows in a repr."""

    tls_crt: bytes | None
    tls_key: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Validity:
    """Whether the certificate may stay as it is, a reason for machines, and one sentence."""

    ok: bool
    reason: ValidityReason
    message: str


def judge_stored(
    stored: StoredCertificate | None,
    *,
    hosts: Collection[str],
    now: datetime,
    renew_at: datetime | None = None,
) -> Validity:
    """The verdict on what a Secret holds; None stands for no Secret. Nothing in the data makes it raise.

    `renew_at` is when its renewal is due, see `certs.renewal`; without it that is not asked.
    """
    if stored is None:
        return Validity(False, ValidityReason.MISSING, "The Secret does not exist.")
    if not stored.tls_crt or not stored.tls_key:
        return Validity(False, ValidityReason.NO_CERTIFICATE, "The Secret lacks a certificate or its key.")
    try:
        leaf = parse_chain(stored.tls_crt)[0]
        case = _Case(
            key_matches=has_key(leaf, key_from_pem(stored.tls_key)),
            placeholder=is_placeholder(leaf),
            names=dns_names(leaf),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            due=renew_at,
            hosts=tuple(hosts),
            now=now,
        )
    except CertError as error:
        return Validity(False, ValidityReason.UNREADABLE, str(error))
    for reason, applies in RULES:
        if message := applies(case):
            return Validity(False, reason, message)
    return Validity(True, ValidityReason.GOOD, f"The certificate is good until {_time(case.not_after)}.")


@dataclass(frozen=True)
class _Case:
    """Everything the rules look at, read beforehand."""

    key_matches: bool
    placeholder: bool
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    due: datetime | None
    hosts: tuple[str, ...]
    now: datetime


def key_does_not_match(case: _Case) -> str | None:
    return None if case.key_matches else "The certificate and the key do not belong together."


def certificate_is_a_placeholder(case: _Case) -> str | None:
    return "The certificate is a placeholder." if case.placeholder else None


def certificate_is_not_yet_valid(case: _Case) -> str | None:
    # The same tolerance as for a new certificate: what was just installed must not be found wanting.
    early = case.now + CLOCK_SKEW < case.not_before
    return f"The certificate is not valid before {_time(case.not_before)}." if early else None


def certificate_has_expired(case: _Case) -> str | None:
    over = case.now >= case.not_after
    return f"The certificate expired at {_time(case.not_after)}." if over else None


def certificate_does_not_cover_all_hosts(case: _Case) -> str | None:
    missing = sorted({host for host in case.hosts if not covers(case.names, host)})
    if not missing:
        return None
    others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"The certificate does not cover {missing[0]}{others}."


def certificate_is_due(case: _Case) -> str | None:
    return f"The renewal has been due since {_time(case.due)}." if case.due and case.now >= case.due else None


RULES: tuple[tuple[ValidityReason, Callable[[_Case], str | None]], ...] = (
    (ValidityReason.KEY_DOES_NOT_MATCH, key_does_not_match),
    (ValidityReason.PLACEHOLDER, certificate_is_a_placeholder),
    (ValidityReason.NOT_YET_VALID, certificate_is_not_yet_valid),
    (ValidityReason.EXPIRED, certificate_has_expired),
    (ValidityReason.HOSTS_NOT_COVERED, certificate_does_not_cover_all_hosts),
    (ValidityReason.RENEWAL_DUE, certificate_is_due),
)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
