"""Which versions are at work."""

from __future__ import annotations

from issuer_job.cli.base.command import command
from issuer_job.cli.base.session import Session


@command()
def version(session: Session) -> None:
    """Which versions are at work."""
    session.terminal.line(f"client ?   certjob in {session.certjob_namespace}")
