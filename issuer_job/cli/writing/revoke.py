"""Revoke a certificate, and get another with another key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import NAMESPACE
from issuer_job.cli.base.session import Session
from issuer_job.cli.steering.writer import DRY_RUN, DryRun, Writer
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issuers.load import Issuers
from issuer_job.upkeep.revocations import Reason, Revocation, ask_for, issuer_for

if TYPE_CHECKING:
    from issuer_job.cluster.api import Cluster

_EXITS = {v.ExitCode.DONE: Exit.DONE, v.ExitCode.PERMANENT: Exit.NO, v.ExitCode.LATER: Exit.TIMEOUT}
REASONS = [str(reason) for reason in Reason]
_SERIAL = 40
"""Hexadecimal digits of a serial number, at most (RFC 5280, section 4.1.2.2)."""


@command(NAMESPACE, DRY_RUN)
@click.argument("secret")
@click.option("--reason", type=click.Choice(REASONS), default=REASONS[0], help="What the CA is told (RFC 5280).")
@click.option("--serial", default="", metavar="HEX", help="An earlier certificate, by its serial number.")
def revoke(session: Session, secret: str, reason: str, serial: str, dry_run: str) -> Exit:
    """Revoke a Secret's certificate, and get another with another key; for operators.

    A Job of the issuer has the CA revoke it, then another certificate is made, whatever the limits; waits for both.
    Whatever this has begun, the sweeps end. Exit code 1: it cannot be revoked; 4: one of both is not done yet.
    """
    session.find_certjob()
    from issuer_job.checks.revocation_command import RevokeCommand

    number = serial.replace(":", "").lower().lstrip("0")
    if len(number) > _SERIAL or set(number) - set("0123456789abcdef"):
        raise click.UsageError(f"{serial!r} is no serial number in hex")
    namespace, name = session.namespace or "default", secret.removeprefix("secret/")
    asked = Revocation(namespace=namespace, secret_name=name, reason=Reason(reason), serial=number)
    writer = Writer(session, DryRun(dry_run))
    if writer.dry_run is not DryRun.NONE:
        return _tried(session, writer, asked)
    around = session.surroundings
    run = RevokeCommand(
        cluster=writer.cluster, revocation=asked, clock=around.now, sleep=around.sleep, say=session.terminal.line
    )
    code = run.run()
    writer.tell_warnings()
    return _EXITS[code]


def _tried(session: Session, writer: Writer, asked: Revocation) -> Exit:
    """What would be done. Raises CommandError, KubeError."""
    from issuer_job.record.record import RecordError
    from issuer_job.record.store import live_record

    cluster: Cluster = session.cluster
    try:
        record = live_record(cluster, asked.record_name)
    except RecordError as problem:
        raise CommandError(str(problem), Exit.NO) from None
    if record is None:
        raise CommandError(f"{asked.about}: there is no record {asked.record_name} of it", Exit.NO)
    found = cluster.items(CONFIGMAPS, session.certjob_namespace, labels=f"{v.ISSUER}=true")
    issuer = issuer_for(cluster, asked, record, Issuers.from_config_maps(found))
    if not issuer:
        why = "the issuer that it is from is gone or broken, and no other one has the same CA"
        raise CommandError(f"{asked.about}: {why}", Exit.NO)
    if writer.dry_run is DryRun.SERVER:
        ask_for(writer.cluster, asked, now=session.now)
        writer.tell_warnings()
    then = f"then another certificate with another key is made{writer.dry_run.suffix}"
    session.terminal.line(f"{asked.about}: a Job of {issuer} would have it revoked ({asked.reason}); {then}")
    return Exit.DONE
