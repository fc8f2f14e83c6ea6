"""Renewal information (RFC 9773): what CAs suggest for the renewal of certificates."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from certs.renewal import chosen_time
from issuer_job import log
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.record.record import Phase, Record, Renewal
from issuer_job.record.renewal import issued_of

if TYPE_CHECKING:  # a sweep without a due check must not pay for the import
    from issuer_job.acme_client import RenewalClient, RenewalInfo


MOST_CHECKS = 100
"""Certificates whose CA is asked in one pass."""
BUDGET = timedelta(seconds=20)
TIMEOUT = timedelta(seconds=5)
MOST_FAILURES = 2
"""Failures in a row after which a CA is left alone for the rest of the pass."""
NOTHING_TO_TELL = timedelta(days=1)
AFTER_FAILURE = timedelta(hours=1)
"""RFC 9773, section 4.3.3, takes 6 hours unless one is configured: a sweep comes by often enough for less."""
LONGEST_CHECK = timedelta(days=2)
"""A longer wait was written with a clock that was wrong."""
_URL = re.compile(r"https?://[\x21-\x7e]{1,500}")
_NEVER = datetime.min.replace(tzinfo=UTC)


def check_is_due(record: Record, now: datetime) -> bool:
    """Whether the CA shall be asked about the certificate: never after its end (RFC 9773, section 4.3.1)."""
    issued = record.issued
    if record.phase is not Phase.ISSUED or issued is None or not (issued.cert_id and issued.directory):
        return False
    if now >= issued.not_after:
        return False
    wait = issued.renewal.check_after - now if issued.renewal else timedelta(0)
    return wait <= timedelta(0) or wait > LONGEST_CHECK


@dataclass
class _Ca:
    """One issuer's CA in one pass. `failures` are those in a row, `problem` is the last one of the pass."""

    client: RenewalClient | None = None
    failures: int = 0
    problem: str = ""


@dataclass
class Suggestions:
    """Asks CAs for renewal information without an account: one connection for each issuer.

    At most `most` certificates in `budget`, those first that have waited longest. A CA that fails is left alone
    after a second failure in a row, and harms no other.
    """

    issuers: Issuers
    now: datetime
    most: int = MOST_CHECKS
    budget: timedelta = BUDGET
    _started: float = field(default_factory=time.monotonic)
    _cas: dict[str, _Ca] = field(default_factory=dict)

    def ask(self, records: Iterable[Record]) -> Iterator[tuple[Record, Renewal]]:
        """What is to be remembered for each record whose check is due, also if its CA had nothing to tell."""
        due = sorted((record for record in records if check_is_due(record, self.now)), key=_longest_waiting_first)
        left = self.most
        self._started = time.monotonic()
        try:
            for record in due:
                if left == 0 or self._clock() >= self.now + self.budget:
                    return
                renewal = self._renewal(record)
                if renewal is not None:
                    left -= 1
                    yield record, renewal
        finally:
            self._close()

    def _renewal(self, record: Record) -> Renewal | None:
        """None if the CA is left alone for now."""
        former = issued_of(record).renewal
        name = record.issuer
        issuer = self.issuers.valid.get(name)
        asked = issuer is not None and type_of(issuer).suggests_renewals
        if issuer is None or not asked or directory_of(issuer) != issued_of(record).directory:
            broken = name in self.issuers.broken
            return _kept(former, self.now + (AFTER_FAILURE if broken else NOTHING_TO_TELL))
        ca = self._cas.setdefault(name, _Ca())
        if ca.failures >= MOST_FAILURES:
            return None
        return self._asked(ca, issuer, record)

    def _asked(self, ca: _Ca, issuer: Issuer, record: Record) -> Renewal:
        """What the CA says; what was known before if it fails.

        The next check comes later even then, or two certificates that the CA stumbles over would keep all others out.
        """
        from issuer_job.acme_client import AcmeError, AcmeUnavailable, RenewalClient

        former = issued_of(record).renewal
        try:
            ca.client = ca.client or RenewalClient(
                issuer.server,
                ca_bundle_pem=issuer.ca_bundle.encode() or None,
                user_agent="certjob",
                timeout=TIMEOUT,
                deadline=self.now + self.budget,
                now=self._clock,
            )
            info = ca.client.renewal_info(issued_of(record).cert_id)
            renewal = _suggested(record, info, now=self.now) if info else self._nothing_to_tell()
        except AcmeError as error:
            if error.step == "renewalInfo" and error.problem.status == 404:
                ca.failures = 0
                return self._nothing_to_tell()
            ca.problem = str(error)
            # A CA that has understood and refused is not failing.
            fails = error.step != "renewalInfo" or isinstance(error, AcmeUnavailable) or error.is_rate_limited
            ca.failures = ca.failures + 1 if fails else 0
            wait = min(max(AFTER_FAILURE, error.retry_after or AFTER_FAILURE), NOTHING_TO_TELL)
            return _kept(former, self.now + wait)
        except (ValueError, OverflowError) as problem:  # the issuer's bundle, or times that no calendar has
            ca.problem = str(problem)
            ca.failures += 1
            return _kept(former, self.now + AFTER_FAILURE)
        ca.failures = 0
        if renewal.explanation and renewal.explanation != (former.explanation if former else ""):
            log.info("renewal-explained", record=record.name, see=renewal.explanation)
        return renewal

    def _nothing_to_tell(self) -> Renewal:
        return Renewal(check_after=self.now + NOTHING_TO_TELL)

    def _clock(self) -> datetime:
        return self.now + timedelta(seconds=time.monotonic() - self._started)

    def _close(self) -> None:
        for name, ca in self._cas.items():
            if ca.client is not None:
                ca.client.close()
            if ca.problem:
                left_alone = ca.failures >= MOST_FAILURES
                log.warning("renewal-info", issuer=name, problem=ca.problem[:500], left_alone=left_alone)
        self._cas = {}


def _suggested(record: Record, info: RenewalInfo, *, now: datetime) -> Renewal:
    """The CA's window, with one moment of it: the one chosen before, if it is the same window still."""
    issued = issued_of(record)
    former = issued.renewal
    start, end = info.start.astimezone(UTC), info.end.astimezone(UTC)
    if former is not None and former.at is not None and (former.start, former.end) == (start, end):
        at = former.at
    else:
        at = chosen_time(start, end, f"{issued.serial} {record.name}")
    url = info.explanation_url or ""
    explanation = url if _URL.fullmatch(url) else ""
    return Renewal(check_after=now + info.retry_after, at=at, start=start, end=end, explanation=explanation)


def _kept(former: Renewal | None, check_after: datetime) -> Renewal:
    return replace(former, check_after=check_after) if former else Renewal(check_after=check_after)


def _longest_waiting_first(record: Record) -> tuple[datetime, datetime]:
    issued = issued_of(record)
    return issued.renewal.check_after if issued.renewal else _NEVER, issued.not_after
