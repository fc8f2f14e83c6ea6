"""How long it takes until many certificates are renewed because somebody asks for it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job.record.renewal import LEAST_AGE
from issuer_job.status import moments
from issuer_job.status.issuer_status import LimitUse
from issuer_job.status.shown import CertificateStatus, State


def is_renewable(shown: CertificateStatus) -> bool:
    """Whether there is a certificate that somebody wants, as far as is known."""
    known = "certificate" not in shown.unknown
    return shown.state is not State.GONE and (shown.certificate is not None or not known)


def is_from_before(shown: CertificateStatus, moment: datetime) -> bool:
    """Whether the certificate was issued before; what is not known is left alone."""
    return shown.certificate is not None and shown.certificate.issued_at < moment


def due_at(shown: CertificateStatus, asked: datetime) -> datetime:
    """When what is asked for now is done: a certificate is not renewed within an hour of its own beginning."""
    found = shown.certificate
    if found is None:
        return asked
    made = min(found.issued_at, found.not_before) if found.by_hand else found.issued_at
    return max(asked, made + LEAST_AGE)


@dataclass(frozen=True)
class Forecast:
    """How `count` renewals go: `per_sweep` in one pass, every `interval`. `waits` says which limit is in the way, if
    one is, and how much longer that takes.
    """

    count: int
    per_sweep: int
    interval: timedelta
    waits: str = ""
    longer: timedelta = timedelta()

    def sentence(self, *, would: bool) -> str:
        """ "214 certificates would be renewed, 50 a sweep, the last in about 25m; within the limits"."""
        sweeps = -(-self.count // self.per_sweep)
        last = moments.short(max(sweeps * self.interval, self.longer))
        verb = "would be" if would else "are"
        limits = f"; {self.waits}" if self.waits else "; within the limits"
        return f"{self.count} certificates {verb} renewed, {self.per_sweep} a sweep, the last in about {last}{limits}"


def forecast(
    chosen: Iterable[CertificateStatus], *, per_sweep: int, interval: timedelta, orders: Mapping[str, LimitUse]
) -> Forecast:
    """What is to be expected; `orders` is how much of each issuer's limit of orders is used."""
    counts = Counter(shown.issuer for shown in chosen)
    slowest, waits = timedelta(), ""
    for issuer, count in sorted(counts.items()):
        use = orders.get(issuer)
        left = count if use is None else max(0, use.allowed - use.used)
        if use is not None and count > left:
            periods = -(-(count - left) // use.allowed)
            takes = periods * timedelta(seconds=use.period)
            if takes > slowest:
                period = moments.short(timedelta(seconds=use.period))
                slowest, waits = (
                    takes,
                    f"{issuer} has {left} of {use.allowed} orders in {period} left: the rest waits",
                )
    return Forecast(sum(counts.values()), per_sweep, interval, waits, slowest)
