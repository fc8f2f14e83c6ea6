"""The status page, on this machine."""

from __future__ import annotations

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.session import Session
from issuer_job.cluster.api import Resource

DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")
VIEW, PORT = "certjob-view", 8080


@command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of this machine; a free one if not said.")
def page(session: Session, port: int | None) -> Exit:
    """Make the status page reachable from this machine.

    Prints its address, opens nothing, and ends with Ctrl-C. Whoever may forward ports to pods in certjob's namespace
    may see it, with the certificates of all namespaces.
    """
    where = session.certjob_namespace
    if session.cluster.find(DEPLOYMENTS, where, VIEW) is None:
        raise CommandError(f"there is no Deployment {VIEW} in namespace {where}: it was left out of the installation")
    with session.port_forward(f"deployment/{VIEW}", PORT, local=port or 0) as forwarded:
        session.terminal.line(f"http://127.0.0.1:{forwarded.port()}/")
        session.terminal.note("(ends with Ctrl-C)")
        words = forwarded.wait()
    raise CommandError(f"the connection to the page has ended: {words or 'its pod is gone'}")
