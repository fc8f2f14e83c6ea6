"""The issuers: whether they are ready, and what is left of their CAs' limits."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from issuer_job.cli.base.command import command
from issuer_job.cli.base.flags import OUTPUT
from issuer_job.cli.base.session import Session
from issuer_job.cli.out import forms
from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.status import moments

if TYPE_CHECKING:
    from issuer_job.status.issuer_status import IssuerStatus

HEADERS = ("NAME", "DEFAULT", "READY", "CA", "SOLVERS", "CERTIFICATES", "ORDERS LEFT", "CHECKED")


@command(OUTPUT)
def issuers(session: Session) -> None:
    """The issuers, whether they are ready, and what is left of their orders.

    Below each is what its last test has found; a warning keeps it from nothing.
    """
    from issuer_job.cli.sight.records import RecordSight
    from issuer_job.status.document import IssuerStatusList
    from issuer_job.status.status import State

    sight, form = RecordSight(session), session.flags.output
    names = [*sight.issuers.valid, *sight.issuers.broken]
    session.flags = session.flags.everywhere
    users = Counter(shown.issuer for shown in sight.every() if shown.state is not State.GONE)
    shown = [sight.issuer(name, certificates=users[name]) for name in sorted(names)]
    if form in {"json", "yaml"}:
        document = IssuerStatusList(at=session.now, items=tuple(shown))
        forms.print_document(session.terminal, document, form)
    elif form == "name":
        forms.print_names(session.terminal, (f"configmap/{one.name}" for one in shown))
    elif shown:
        rows = [_row(one, session.now) for one in shown]
        session.terminal.table(HEADERS, rows, [_findings(one) for one in shown])
    else:
        session.terminal.note(f"There is no issuer in namespace {session.certjob_namespace}.")


def _findings(one: IssuerStatus) -> list[str]:
    return [
        f"{found.reason} {found.path}: {found.message}" + (" (a warning)" if found.warning else "")
        for found in one.findings
    ]


def _row(one: IssuerStatus, now: datetime) -> list[Part]:
    from issuer_job.status.issuer_status import Limit

    ready = {True: Cell("yes", Style.GOOD), False: Cell("no", Style.BAD), None: Cell("?")}[one.ready]
    orders = next((use for use in one.limits if use.limit is Limit.ORDERS), None)
    return [
        one.name,
        "yes" if one.default else "",
        ready,
        one.ca or "-",
        " ".join(one.solvers) or "-",
        str(one.certificates),
        f"{max(0, orders.allowed - orders.used)}/{orders.allowed}" if orders else "-",
        moments.short(now - one.checked_at) if one.checked_at else "-",
    ]
