"""Hand a Secret over."""

from __future__ import annotations

from collections.abc import Sequence

import click

from issuer_job import vocabulary as v
from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit, is_forbidden
from issuer_job.cli.base.flags import NAMESPACE
from issuer_job.cli.base.session import Session
from issuer_job.cli.steering.writer import DRY_RUN, Annotatable, DryRun, Writer
from issuer_job.cluster.api import INGRESSES, SECRETS, Json, KubeError
from issuer_job.demand import ingress as demand
from issuer_job.demand import secret as asking

TWO_MASTERS = "docs/moving.md#two-masters"


@command(NAMESPACE, DRY_RUN)
@click.argument("names", nargs=-1, required=True, metavar="SECRET...")
def adopt(session: Session, names: Sequence[str], dry_run: str) -> Exit:
    """Hand Secrets over to certjob, with the certificates in them.

    Labels them certjob.io/managed=true, and reads none of their data. The next sweep looks: a good certificate for
    all hosts, of a public CA or of the issuer's own, stays without an order; anything else serves until the ordered
    one replaces it. They have to be of type kubernetes.io/tls.
    """
    from issuer_job.cli.sight.sweeps import next_sweep

    namespace, writer, code = session.namespace or "default", Writer(session, DryRun(dry_run)), Exit.DONE
    sweep = next_sweep(session)
    for name in (given.removeprefix("secret/") for given in names):
        about = f"{namespace}/{name}"
        try:
            said = _adopted(session, writer, namespace, name)
        except CommandError as problem:
            session.terminal.note(f"error: {about}: {problem}")
            code = max(code, problem.code)
            continue
        looks = f"; {sweep} looks: a good certificate stays, without an order" if "handed over" in said else ""
        session.terminal.line(f"{about}: {said}{writer.dry_run.suffix}{looks}")
        if not _is_asked_for(session, namespace, name):
            session.terminal.note(f"{about}: nothing asks for it: until something does, it is left alone")
    return code


def _adopted(session: Session, writer: Writer, namespace: str, name: str) -> str:
    """What is said of it. Raises CommandError."""
    held = _metadata(session, namespace, name)
    if held is None:
        raise CommandError("there is no such Secret", Exit.NO)
    labels, notes = held.get("labels") or {}, held.get("annotations") or {}
    if labels.get(v.MANAGED) == "true":
        return "it is certjob's already"
    if other := notes.get(v.CERT_MANAGER):
        raise CommandError(f"cert-manager writes it, for Certificate {other}: see {TWO_MASTERS}", Exit.NO)
    place = Annotatable(SECRETS, namespace, name, f"Secret {name}")
    writer.patch([place], {"metadata": {"labels": {v.MANAGED: "true"}}})
    return "handed over"


def _metadata(session: Session, namespace: str, name: str) -> Json | None:
    """Of the Secret, as far as it may be read; None if there is none."""
    try:
        found = session.cluster.find(SECRETS, namespace, name)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return {}
    metadata: Json | None = None if found is None else found["metadata"]
    return metadata


def _is_asked_for(session: Session, namespace: str, name: str) -> bool:
    """Whether anything names it; True, too, if that may not be read."""
    try:
        held = session.cluster.find(SECRETS, namespace, name)
        every = session.cluster.items(INGRESSES, namespace)
        return (held is not None and asking.opts_in(held)) or any(name in demand.served_secrets(one) for one in every)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return True
