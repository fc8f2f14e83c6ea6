"""Which versions are at work: of this command, the pods, the records and Kubernetes."""

from __future__ import annotations

import re

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cluster.api import DEPLOYMENTS, POD_TEMPLATES, Json, KubeError, Resource

_TAG = re.compile(r":([\w][\w.-]{0,127})$")
UNKNOWN = "?"


@command()
@click.option("--client", is_flag=True, help="Only of this command, without asking the cluster.")
def version(session: Session, client: bool) -> None:
    """Which versions are at work.

    Of this command, the webhook's and the Jobs' images, and Kubernetes. `records` is the version of records up to
    which this command reads them; a later one is shown as recordUnreadable.
    """
    from issuer_job.record.record import SCHEMA_VERSION

    own = f"client {v.VERSION}"
    if client:
        session.terminal.line(f"{own}   records {SCHEMA_VERSION}")
        return
    kubernetes = session.cluster.server_version().removeprefix("v") or UNKNOWN
    webhook = _image(session, DEPLOYMENTS, v.WEBHOOK_SERVICE)
    job = _image(session, POD_TEMPLATES, v.POD_TEMPLATE)
    said = f"{own}   webhook {webhook}   job {job}   records {SCHEMA_VERSION}   Kubernetes {kubernetes}"
    session.terminal.line(said)


def _image(session: Session, resource: Resource, name: str) -> str:
    """The tag of an object's image: what it is not called by, or may not be known, is not known."""
    try:
        found = session.cluster.find(resource, session.certjob_namespace, name)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return UNKNOWN
    if found is None:
        return "not installed"
    template: Json = found.get("template") or found.get("spec", {}).get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or [{}]
    tag = _TAG.search(str(containers[0].get("image", "")).partition("@")[0])
    return tag[1] if tag else UNKNOWN
