"""The issuers: whether they are ready, and what is left of their CAs' limits."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from issuer_job.cli.base.command import command
from issuer_job.cli.base.flags import NAMESPACE, OUTPUT
from issuer_job.cli.base.session import Session
from issuer_job.cli.out import forms
from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.status import moments
from issuer_job.status.words import UNKNOWN

if TYPE_CHECKING:
    from issuer_job.status.issuer_status import IssuerStatus

HEADERS = ("NAME", "DEFAULT", "READY", "CA", "SOLVERS", "CERTIFICATES", "ORDERS LEFT", "CHECKED")


@command(NAMESPACE, OUTPUT)
def issuers(session: Session) -> None:
    """The issuers, whether they are ready, and what is left of their orders.

    Below each is what its last test has found; a warning keeps it from nothing. CERTIFICATES are those of all
    namespaces, or of the one of -n. Tenants see which issuers their own Ingresses and Secrets name.
    """
    from issuer_job.cli.sight.records import RecordSight
    from issuer_job.cli.sight.sight import sight_of
    from issuer_job.status.document import IssuerStatusList
    from issuer_job.status.issuer_status import issuer_from_outside
    from issuer_job.status.shown import State

    sight, form = sight_of(session), session.flags.output
    if isinstance(sight, RecordSight) and not session.flags.namespace:
        session.flags = session.flags.everywhere
    users = Counter(shown.issuer for shown in sight.every() if shown.state is not State.GONE)
    unnamed = users.pop("", 0)
    if isinstance(sight, RecordSight):
        names = sorted([*sight.issuers.valid, *sight.issuers.broken])
        shown = [sight.issuer(name, certificates=users[name]) for name in names]
    else:
        shown = [issuer_from_outside(name, certificates=count) for name, count in sorted(users.items())]
    if form in {"json", "yaml"}:
        document = IssuerStatusList(at=session.now, evidence=sight.evidence, items=tuple(shown))
        forms.print_document(session.terminal, document, form)
    elif form == "name":
        forms.print_names(session.terminal, (f"configmap/{one.name}" for one in shown))
    elif shown:
        rows = [_row(one, session.now) for one in shown]
        session.terminal.table(HEADERS, rows, [_findings(one) for one in shown])
    elif isinstance(sight, RecordSight):
        session.terminal.note(f"There is no issuer in namespace {session.certjob_namespace}.")
    else:
        session.terminal.note(f"No issuer is named in namespace {session.namespace}.")
    if unnamed and not isinstance(sight, RecordSight):
        of = f"{unnamed} certificate{'s' * (unnamed != 1)}"
        session.terminal.note(f"(of {of} you may not know the issuer; what names none gets the default one)")


def _findings(one: IssuerStatus) -> list[str]:
    return [
        f"{found.reason} {found.path}: {found.message}" + (" (a warning)" if found.warning else "")
        for found in one.findings
    ]


def _row(one: IssuerStatus, now: datetime) -> list[Part]:
    from issuer_job.status.issuer_status import Limit

    ready = {True: Cell("yes", Style.GOOD), False: Cell("no", Style.BAD), None: Cell(UNKNOWN)}[one.ready]
    orders = next((use for use in one.limits if use.limit is Limit.ORDERS), None)
    left = f"{max(0, orders.allowed - orders.used)}/{orders.allowed}" if orders else "-"
    cells: dict[str, Part] = {
        "name": one.name,
        "default": "yes" if one.default else "",
        "ready": ready,
        "ca": one.ca or "-",
        "solvers": " ".join(one.solvers) or "-",
        "certificates": str(one.certificates),
        "limits": left,
        "checkedAt": moments.short(now - one.checked_at) if one.checked_at else "-",
    }
    return [UNKNOWN if field in one.unknown else cell for field, cell in cells.items()]
