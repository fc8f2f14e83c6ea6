"""Try again now."""

from __future__ import annotations

from collections.abc import Sequence

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import NAMES, SCOPE
from issuer_job.cli.base.session import Session
from issuer_job.cli.steering.writer import DRY_RUN, DryRun, Writer, askers_of
from issuer_job.status.shown import CertificateStatus, NextStep, State


@command(SCOPE, DRY_RUN)
@NAMES
@click.option("--all", "every", is_flag=True, help="All that wait or have failed.")
def retry(session: Session, names: Sequence[str], every: bool, dry_run: str) -> Exit:
    """Have what failed tried again now.

    Ends the wait after a failure: writes the annotation certjob.io/retry on what asks for the certificate, an Ingress
    or a Secret. A wait that the CA asked for, or a limit, goes on. NAME is that of a Secret; or ingress/NAME,
    secret/NAME, or a host.
    """
    from issuer_job.cli.sight.sight import Choice

    if bool(names or session.flags.selector) == every:
        raise click.UsageError("which? NAME, -l, or --all")
    writer, code = Writer(session, DryRun(dry_run)), Exit.DONE
    chosen = Choice(session, names, gone=False).found()
    waiting = [one for one in chosen if not every or one.state in {State.WAITING, State.FAILED}]
    if not waiting:
        session.terminal.note("No certificate waits or has failed.")
    for shown in waiting:
        try:
            _retry(session, writer, shown)
        except CommandError as problem:
            session.terminal.note(f"error: {shown.namespace}/{shown.name}: {problem}")
            code = Exit.UNKNOWN
    return code


def _retry(session: Session, writer: Writer, shown: CertificateStatus) -> None:
    about = f"{shown.namespace}/{shown.name}"
    if shown.state in {State.ISSUED, State.GONE}:
        other = f"kubectl certjob renew -n {shown.namespace} {shown.name}"
        session.terminal.note(
            f"{about}: nothing is waited for, it is {shown.state}; for another certificate: {other}"
        )
        return
    value = f"{session.now:%Y-%m-%dT%H:%M:%S.%fZ}"
    place = writer.annotate(askers_of(shown), {v.RETRY: value})
    follow = f"kubectl certjob wait -n {shown.namespace} {shown.name}"
    session.terminal.line(f"{about}: asked ({place.what}){writer.dry_run.suffix}; follow: {follow}")
    if shown.next.what is NextStep.LIMIT:
        session.terminal.note(f"{about}: it is held back by a limit, which this does not shorten")
