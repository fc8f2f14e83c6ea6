"""What the shell can complete by asking the cluster: within a second, or nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields, replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import click

from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.flags import Flags
from issuer_job.cli.base.session import Session, Surroundings
from issuer_job.cluster.api import NAMESPACES, KubeError

PATIENCE = 1.0
MOST = 500
_FIELDS = frozenset(each.name for each in fields(Flags))


def certificates(context: click.Context, incomplete: str) -> list[str]:
    """Names of Secrets, and once "ingress/" or "secret/" is there those of the kind."""
    from issuer_job.cli.sight.sight import Choice

    kind, slash, _ = incomplete.partition("/")

    def read(session: Session) -> Iterable[str]:
        for shown in Choice(session, ()).all():
            if slash and kind.startswith("ing"):
                yield from (f"{kind}/{asker.name}" for asker in shown.asked_by if asker.kind == "Ingress")
            else:
                yield f"{kind}/{shown.name}" if slash else shown.name

    return _within(context, incomplete, read)


def namespaces(context: click.Context, incomplete: str) -> list[str]:
    """All that there are."""

    def read(session: Session) -> Iterable[str]:
        return (one["metadata"]["name"] for one in session.cluster.items(NAMESPACES))

    return _within(context, incomplete, read)


def issuers(context: click.Context, incomplete: str) -> list[str]:
    """Those that are there, broken or not."""
    from issuer_job.cli.sight.records import RecordSight

    def read(session: Session) -> Iterable[str]:
        known = RecordSight(session).issuers
        return [*known.valid, *known.broken]

    return _within(context, incomplete, read)


def _within(context: click.Context, incomplete: str, read: Callable[[Session], Iterable[str]]) -> list[str]:
    """What `read` reads, if it is quick: whoever presses a key waits for nothing else."""
    session, answer = _session(context), SimpleQueue[list[str]]()

    def ask() -> None:
        with suppress(KubeError, CommandError, click.ClickException):
            session.begin(scoped=True)
            found = {name for name in read(session) if name.startswith(incomplete)}
            answer.put(sorted(found)[:MOST])

    Thread(target=ask, daemon=True).start()
    try:
        return answer.get(timeout=PATIENCE)
    except Empty:
        return []
    finally:
        session.close()


def _session(context: click.Context) -> Session:
    """With the flags that stand on the line already; what it has to say nobody hears."""
    given: dict[str, Any] = {}
    for one in filter(None, (context.parent, context)):
        given |= {name: value for name, value in one.params.items() if name in _FIELDS and value}
    around = context.find_object(Surroundings) or Surroundings()
    return Session(Flags(**given), replace(around, err=io.StringIO()))
