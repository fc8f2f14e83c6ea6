"""Whether an order would succeed, before there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import Exit, is_forbidden
from issuer_job.cli.base.flags import NAMES, NAMESPACE, OUTPUT
from issuer_job.cli.base.session import Session
from issuer_job.cluster.api import Cluster, KubeError

if TYPE_CHECKING:
    from issuer_job.cli.checking.known import OperatorsView
    from issuer_job.cli.out.verdicts import Judged


@command(NAMESPACE, OUTPUT)
@NAMES
@click.option("-f", "--filename", "files", multiple=True, metavar="FILE", help="What it has; - is standard input.")
def check(session: Session, names: Sequence[str], files: Sequence[str]) -> Exit:
    """Whether an order would succeed; orders and writes nothing.

    Asks the webhook by a server-side dry run, so that it cannot disagree with admission, then whose the hosts are,
    the issuer and its limits, and from this machine DNS, CAA and port 80, for at most ten seconds. The CA asks from
    elsewhere: this advises, and keeps nothing from being ordered.

    NAME is ingress/NAME, secret/NAME, a Secret that something asks for, or a host.
    """
    from issuer_job.background import Background
    from issuer_job.cli.checking.asking import PATIENCE, ask
    from issuer_job.cli.checking.report import findings_of, subject_of, wish_of
    from issuer_job.cli.checking.targets import file_targets, stored_targets
    from issuer_job.cli.sight.names import read_name
    from issuer_job.cli.way.hearing import Hearing

    if not names and not files:
        raise click.UsageError("what is to be checked? ingress/NAME, or -f FILE")
    namespace, hearing = session.namespace or "default", Hearing(session.cluster.transport)
    cluster = Cluster(hearing, timeout=session.cluster.timeout)
    tried = [one for path in files for one in file_targets(cluster, hearing, path, namespace)]
    tried += [one for name in names for one in stored_targets(cluster, hearing, read_name(name), namespace)]
    known = _known(session)
    subjects = [subject_of(cluster, one, known) for one in tried]
    wish = wish_of(subjects, known)
    around = session.surroundings
    asking = Background(lambda: ask(wish, nameservers=around.nameservers, port=around.http_port))
    found = {
        one.tried.label: findings_of(cluster, one, known, lambda: asking.result(PATIENCE), session.now)
        for one in subjects
    }
    return _tell(session, found)


def _known(session: Session) -> OperatorsView | None:
    """What operators may read; None, which is said, if this is none."""
    from issuer_job.cli.checking.known import read_known

    try:
        return read_known(session.cluster, session.certjob_namespace)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        where = session.certjob_namespace
        session.terminal.note_once(f"(told by the webhook and from this machine: you may not read namespace {where})")
        return None


def _tell(session: Session, found: dict[str, list[Judged]]) -> Exit:
    from issuer_job.cli.out import forms, verdicts

    every = [one for findings in found.values() for one in findings]
    if session.flags.output in {"json", "yaml"}:
        document = verdicts.Report(kind="CheckReport", subjects=tuple(map(verdicts.about, found.items())))
        forms.print_document(session.terminal, document, session.flags.output)
        return verdicts.exit_code(every)
    for label, findings in found.items():
        if len(found) > 1:
            session.terminal.line(label)
        verdicts.show(session.terminal, findings)
    if problems := verdicts.failures(every):
        session.terminal.note(f"{verdicts.counted(problems, 'problem')}: an order would fail")
    return verdicts.exit_code(every)
