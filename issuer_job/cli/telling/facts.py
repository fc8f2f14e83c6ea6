"""The lines that `describe` has for a certificate; `why` has the first four. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby

from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.cli.sight.from_here import HostView
from issuer_job.status import moments
from issuer_job.status.issuer_status import IssuerStatus, Limit, LimitUse
from issuer_job.status.shown import CertificateStatus, NextStep, State, TimelineEntry
from issuer_job.status.words import next_text

Fact = tuple[str, Part]
_ASKS = {State.WAITING, State.FAILED}
_WHAT = {
    Limit.ORDERS: "orders",
    Limit.DOMAIN: "for",
    Limit.SET: "for the same hosts",
    Limit.FAILURES: "failures of",
}


def first_facts(shown: CertificateStatus, now: datetime) -> Iterator[Fact]:
    """What it is, why it is not ready, what comes next, what to do."""
    yield "Certificate", _headline(shown)
    if shown.why is not None:
        yield "Why", shown.why.sentence
    yield "Next", _next(shown, now)
    if shown.why is not None and shown.why.do:
        see = f"; see {shown.why.docs}" if shown.why.docs else ""
        yield "Do", f"{shown.why.do}{see}"


def _headline(shown: CertificateStatus) -> Part:
    ready = {True: "ready", False: "not ready", None: "not known whether it is ready"}[shown.ready]
    askers = ", ".join(f"{one.kind} {one.name}{' (away)' if one.gone else ''}" for one in shown.asked_by)
    asked = f", asked for by {askers}" if askers else ""
    since = f" since {moments.absolute(shown.asked_since)}" if shown.asked_since else ""
    style = {True: Style.GOOD, False: Style.BAD, None: Style.PLAIN}[shown.ready]
    return Cell(f"{shown.namespace}/{shown.name}, {ready}{asked}{since}", style)


def _next(shown: CertificateStatus, now: datetime) -> str:
    coming, retry = shown.next, f"kubectl certjob retry -n {shown.namespace} {shown.name}"
    asks = shown.state in _ASKS and shown.asked_by and "state" not in shown.unknown
    by_hand = f"; now: {retry}" if asks and coming.what is not NextStep.LIMIT else ""
    if coming.what in {NextStep.RETRY, NextStep.CHANGE} and coming.at and coming.at > now:
        count = f", {moments.ordinal(coming.failures)} failure" if coming.failures else ""
        after = "after a change, else " if coming.what is NextStep.CHANGE else ""
        return f"{after}by itself at {_clock(coming.at, now)} ({moments.relative(coming.at, now)}{count}){by_hand}"
    return f"{next_text(shown, now)}{by_hand}"


def _clock(moment: datetime, now: datetime) -> str:
    """With its date if that is not today."""
    return moments.absolute(moment)[11 if moment.date() == now.date() else 0 :]


def host_fact(host: str, *, how: str, view: HostView | None, claim: str) -> Fact:
    """How a host is proven, where it leads from here, and who holds it."""
    addresses = " ".join(f"{'AAAA' if ':' in one else 'A'} {one}" for one in (view.addresses if view else ())[:4])
    parts = (host, how, addresses or (view.problem if view else ""), claim)
    return "Host", "   ".join(filter(None, parts))


def served_text(shown: CertificateStatus, view: HostView) -> str:
    """What is served, from here."""
    served = view.served
    if served is None:
        return view.problem or "nothing"
    if served.placeholder:
        return "placeholder is served"
    until = f"until {served.not_after:%Y-%m-%d}"
    if shown.certificate is not None and int(shown.certificate.serial or "0", 16) == int(served.serial, 16):
        return f"it is served, {until}"
    trust = "trusted" if served.trusted else "not trusted"
    which = "a certificate" if "certificate" in shown.unknown else "another certificate"
    return f"{which} is served: {trust} here, {until}, of {served.issuer}"


def issuer_fact(shown: IssuerStatus) -> Fact:
    """Whether it is ready, and what is left of its limits; of those that are hardly used nobody counts how much."""
    ready = {True: "ready", False: "not ready", None: "not tested yet"}[shown.ready]
    left = ", ".join(left_text(use) for use in shown.limits if use.used or use.limit is Limit.ORDERS)
    wrong = "".join(f"; {found.reason} {found.path}: {found.message}" for found in shown.findings[:1])
    return "Issuer", f"{shown.name}, {ready}" + (f"; left: {left}" if left else "") + wrong


def left_text(use: LimitUse) -> str:
    """ "49 of 50 for example.com (7 d)"."""
    hours = use.period // 3600
    period = f"{hours // 24} d" if hours >= 48 else f"{hours} h"
    what = f"{_WHAT[use.limit]} {use.whom}".strip()
    return f"{max(0, use.allowed - use.used)} of {use.allowed} {what} ({period})"


def timeline_facts(entries: tuple[TimelineEntry, ...], now: datetime) -> Iterator[Fact]:
    """The story, oldest first: an attempt that ended as the one before is one line."""
    attempts = [list(group) for _, group in groupby(entries, key=lambda entry: entry.epoch)]
    same, former = 1, ""
    for attempt in attempts:
        outcome = f"{attempt[-1].event} {attempt[-1].detail}"
        same = same + 1 if outcome == former and len(attempt) > 1 else 1
        former, before = outcome, None
        if same > 1:
            yield (
                "Timeline",
                f"{_moment(attempt[-1].at, now):<19} {attempt[-1].event:<14} the same, {moments.ordinal(same)} time",
            )
            continue
        for entry in attempt:
            since = f"+{moments.seconds(entry.at - before)}" if before is not None else ""
            before = entry.at
            said = f"{entry.type}: {entry.detail.removeprefix(f'{entry.type}: ')}" if entry.type else entry.detail
            yield "Timeline", f"{_moment(entry.at, now):<12}{since:>7} {entry.event:<14} {said}".rstrip()


def _moment(moment: datetime, now: datetime) -> str:
    """To a tenth of a second today, to the minute before."""
    if now - moment < timedelta(hours=12):
        return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"
    return f"{moment:%m-%d %H:%M}"
