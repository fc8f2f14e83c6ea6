"""All that is known of a certificate; and why it is as it is, in four lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import Exit
from issuer_job.cli.base.flags import NAMES, SCOPE
from issuer_job.cli.base.session import Session

if TYPE_CHECKING:
    from issuer_job.cli.sight.names import Name
    from issuer_job.cli.sight.sight import Choice
    from issuer_job.cli.telling.facts import Fact
    from issuer_job.status.shown import CertificateStatus


@command(SCOPE)
@NAMES
def why(session: Session, names: Sequence[str]) -> Exit:
    """Why a certificate is not ready, what comes next, and what to do.

    Without a name: of each that is not ready. Of an Ingress that has no certificate: why it has none.
    """
    return _tell(session, names, whole=False)


@command(SCOPE)
@NAMES
@click.option("--no-lookup", is_flag=True, help="Ask nothing of the hosts themselves from this machine.")
def describe(session: Session, names: Sequence[str], no_lookup: bool) -> Exit:
    """All that is known of a certificate.

    Its hosts, issuer, limits, Secret, timeline and Job. It looks the hosts up in DNS and asks what they serve on
    port 443, from this machine, for at most 3 seconds.
    """
    return _tell(session, names, whole=True, lookup=not no_lookup)


def _tell(session: Session, names: Sequence[str], *, whole: bool, lookup: bool = False) -> Exit:
    from issuer_job.cli.sight.sight import Choice

    choice, code, said = Choice(session, names, gone=False), Exit.DONE, 0
    for name, shown in _chosen(choice, whole=whole):
        facts = _facts(session, choice, name, shown, whole=whole, lookup=lookup)
        if name is not None and not facts:
            code = session.refuse(choice.missing(name))
            continue
        if said:
            session.terminal.line()
        session.terminal.facts(facts)
        said += 1
    if not said and not names:
        session.terminal.note("No certificates found." if whole else "No certificate that is not ready.")
    return code


def _chosen(choice: Choice, *, whole: bool) -> Iterator[tuple[Name | None, CertificateStatus | None]]:
    """What each name means, None if nothing; without names the certificates themselves."""
    if not choice.names:
        yield from ((None, shown) for shown in choice.all() if whole or not shown.ready)
    for name, found in choice.by_name():
        yield from ((name, shown) for shown in found)
        if not found:
            yield name, None


def _facts(
    session: Session,
    choice: Choice,
    name: Name | None,
    shown: CertificateStatus | None,
    *,
    whole: bool,
    lookup: bool,
) -> list[Fact]:
    from issuer_job.cli.telling.absent import absent_facts
    from issuer_job.cli.telling.facts import first_facts
    from issuer_job.cli.telling.further import further_facts

    if shown is None:
        return list(absent_facts(session, choice.sight, name)) if name is not None else []
    facts = list(first_facts(shown, session.now))
    return facts + list(further_facts(session, choice.sight, shown, lookup=lookup)) if whole else facts
