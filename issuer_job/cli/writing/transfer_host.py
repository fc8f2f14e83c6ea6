"""Give a host to a namespace."""

from __future__ import annotations

from collections.abc import Iterator

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.session import Session
from issuer_job.cli.steering.writer import DRY_RUN, DryRun, Writer


@command(DRY_RUN)
@click.argument("host")
@click.argument("to", metavar="NAMESPACE")
def transfer_host(session: Session, host: str, to: str, dry_run: str) -> Exit:
    """Give a host to a namespace, whoever has it; for operators.

    HOST is a DNS name, or a wildcard. The next sweep orders what was refused to NAMESPACE; what the former holder has
    is not renewed any more, and revoked once nothing needs it (option revokeLostHosts).
    """
    session.find_certjob()
    from issuer_job.cli.sight.sweeps import next_sweep
    from issuer_job.hosts.transfer import expected, transfer

    writer = Writer(session, DryRun(dry_run))
    client = writer.dry_run is DryRun.CLIENT
    cluster = session.cluster if client else writer.cluster
    done = (expected if client else transfer)(cluster, host, to, now=session.now)
    writer.tell_warnings()
    if done.problem:
        raise CommandError(f"{done.host}: {done.problem}", Exit.NO)
    parts = [f"{done.host}: {done.former or 'nobody'} -> {to}{writer.dry_run.suffix}"]
    wanting, losing = (list(_certificates(session, of, done.host)) for of in (to, done.former))
    sweep = next_sweep(session)
    orders = ", ".join(wanting) or "what was refused, if anything was"
    parts.append(f"{sweep} orders {orders}" if done.former != to else "it has it already")
    if losing and done.former != to:
        verb = "is" if len(losing) == 1 else "are"
        parts.append(f"{', '.join(losing)} {verb} not renewed any more")
    session.terminal.line("; ".join(parts))
    return Exit.DONE


def _certificates(session: Session, namespace: str | None, host: str) -> Iterator[str]:
    """Those of the namespace that are for the host."""
    from issuer_job.record.store import list_records

    for record in list_records(session.cluster, namespace) if namespace else ():
        if host in record.intent.hosts:
            yield f"{record.namespace}/{record.secret_name}"
