"""What is there, of which certificates, and what comes next: a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import Exit
from issuer_job.cli.base.flags import NAMES, OUTPUT, SCOPE
from issuer_job.cli.base.session import Session
from issuer_job.status.plain import clean
from issuer_job.status.words import called

if TYPE_CHECKING:
    from issuer_job.cli.out.terminal import Part, Terminal
    from issuer_job.cli.sight.sight import Choice
    from issuer_job.status.shown import CertificateStatus

TICK = 1.0
"""Seconds between two looks at the clock."""


@command(SCOPE, OUTPUT)
@NAMES
@click.option("-w", "--watch", is_flag=True, help="Go on, and show what changes.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if one is not ready, with 3 if one is not known to be.")
@click.option("--gone", is_flag=True, help="Also those that nobody asks for any more.")
def status(session: Session, names: Sequence[str], watch: bool, exit_code: bool, gone: bool) -> Exit:
    """Which certificates there are, whether they are ready, and what comes next.

    READY says whether the Secret holds a trusted certificate, in date, for all the hosts; STATE what is being done.
    The two are independent: while a renewal fails, the certificate is Waiting and ready.

    NAME is that of a Secret; or ingress/NAME, secret/NAME, or a host. `kubectl certjob why` says more of one.
    """
    from issuer_job.cli.sight.sight import Choice

    if watch and exit_code:
        raise click.UsageError("--watch and --exit-code exclude each other")
    choice = Choice(session, names, gone=gone)
    if watch:
        return _watch(session, choice)
    shown = choice.found()
    _print(session, choice, shown)
    if not exit_code:
        return Exit.DONE
    wanted = [one.ready for one in shown if one.state != "Gone"]
    return Exit.NO if False in wanted else Exit.UNKNOWN if None in wanted else Exit.DONE


def _print(session: Session, choice: Choice, shown: Sequence[CertificateStatus]) -> None:
    from issuer_job.cli.out import forms
    from issuer_job.cli.telling import rows

    form, now = session.flags.output, session.now
    if form in {"json", "yaml"}:
        from issuer_job.status.document import CertificateStatusList

        document = CertificateStatusList(at=now, evidence=choice.sight.evidence, items=tuple(shown))
        forms.print_document(session.terminal, document, form)
    elif form == "name":
        forms.print_names(session.terminal, map(_name, shown))
    elif shown:
        wide = form == "wide"
        session.terminal.table(rows.headers(wide=wide), (rows.row(one, now, wide=wide) for one in shown))
        _sum_up(session, shown)
    else:
        where = f"in namespace {session.namespace}" if session.namespace is not None else "in any namespace"
        session.terminal.note(f"No certificates found {where}.")


def _sum_up(session: Session, shown: Sequence[CertificateStatus]) -> None:
    """How many are not ready, and how to learn why."""
    if session.flags.output:
        return
    waiting = [one for one in shown if not one.ready and one.state != "Gone"]
    count = f"{len(shown)} certificate{'s' * (len(shown) != 1)}"
    if waiting:
        first = next((one for one in waiting if one.why is not None), waiting[0])
        unknown = sum(one.ready is None for one in waiting)
        parts = [
            f"{len(waiting) - unknown} not ready" * (len(waiting) > unknown),
            f"{unknown} not known" * bool(unknown),
        ]
        how = f"Why: kubectl certjob why -n {first.namespace} {called(first)}"
        session.terminal.note(f"{', '.join([count, *filter(None, parts)])}. {how}")
    else:
        session.terminal.note(f"{count}, all ready.")


def _watch(session: Session, choice: Choice) -> Exit:
    """Until it is interrupted. On a terminal the table is drawn anew, else rows follow as they change."""
    from issuer_job.cli.out import forms
    from issuer_job.cli.sight.feed import Feed
    from issuer_job.cli.telling import rows

    form, terminal, wide = session.flags.output, session.terminal, session.flags.output == "wide"
    heads, feed = rows.headers(wide=wide), Feed(choice)
    feed.begin()
    changed, drawn = choice.meant(feed.current.values()), False
    try:
        while True:
            if terminal.rich and not form.startswith(("json", "yaml", "name")):
                shown = sorted(choice.meant(feed.current.values()), key=lambda one: (one.namespace, one.name))
                lines = _drawn(terminal, heads, [rows.row(one, session.now, wide=wide) for one in shown])
                terminal.live([*lines, *map(clean, filter(None, [feed.problem]))])
            elif form in {"json", "yaml"}:
                for one in changed:
                    forms.print_line(terminal, one, form)
            elif form == "name":
                forms.print_names(terminal, map(_name, changed))
            elif not drawn:
                terminal.table(heads, (rows.row(one, session.now, wide=wide) for one in changed))
            else:
                terminal.more_rows(rows.row(one, session.now, wide=wide) for one in changed)
            drawn = True
            if feed.problem and not terminal.rich:
                terminal.note_once(f"{feed.problem}; asked again until it answers")
            changed = choice.meant(feed.wait(TICK))
    finally:
        feed.end()


def _drawn(terminal: Terminal, heads: Sequence[str], cells: Sequence[Sequence[Part]]) -> list[str]:
    """The table; on a narrow terminal without what does not change, rather than without what comes next."""
    lines = terminal.table_lines(heads, cells)
    if terminal.fits(lines):
        return lines
    kept = [number for number, head in enumerate(heads) if head not in {"HOSTS", "ISSUER", "ASKED BY", "SERIAL"}]
    return terminal.table_lines([heads[at] for at in kept], [[row[at] for at in kept] for row in cells])


def _name(shown: CertificateStatus) -> str:
    return f"secret/{shown.name}"
