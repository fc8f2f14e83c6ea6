"""What is there."""

from __future__ import annotations

from issuer_job.cli.base.command import command
from issuer_job.cli.base.flags import OUTPUT, SCOPE
from issuer_job.cli.base.session import Session


@command(SCOPE, OUTPUT)
def status(session: Session) -> None:
    """What is there, of which certificates, and what comes next."""
    session.terminal.table(["NAMESPACE"], [[session.namespace or "all"]])
