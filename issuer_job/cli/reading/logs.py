"""The log of a certificate's newest attempt, of all its pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.base.flags import NAMESPACE, completed_by
from issuer_job.cli.base.session import Session
from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.cluster.api import JOBS, PODS, ApiError, Json
from issuer_job.launch.jobs import is_finished

if TYPE_CHECKING:
    from issuer_job.status.shown import CertificateStatus

LONGEST_SILENCE = 330.0
"""Seconds: no attempt takes longer."""
POLL = 1.0
JOB_LATEST = timedelta(seconds=60)
"""After the launch: the record is written first."""
_BARE = ("host", "result", "reason", "type", "verdict", "state")
"""Fields that need no name."""
_LEFT_OUT = frozenset({"time", "level", "event", "record", "epoch"})


@command(NAMESPACE)
@click.argument("name", metavar="NAME", shell_complete=completed_by("certificates"))
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--raw", is_flag=True, help="The lines as the Job has written them, in JSON.")
def logs(session: Session, name: str, follow: bool, raw: bool) -> Exit:
    """The log of a certificate's newest attempt.

    A line for each step, of all pods of its Job. Job and log are kept for ten minutes; what comes after that, and
    what tenants see, is in `kubectl certjob describe`.
    """
    from issuer_job.cli.sight.sight import Choice
    from issuer_job.status.shown import Evidence

    choice = Choice(session, [name])
    found = choice.found()
    if len(found) > 1:
        every = ", ".join(one.name for one in found)
        raise click.UsageError(f"{name} means several certificates: {every}")
    shown = found[0]
    if choice.sight.evidence is not Evidence.RECORDS:
        raise CommandError(
            f"the Jobs are in namespace {session.certjob_namespace}, where you may not read logs (get pods/log); "
            f"what is known here: kubectl certjob describe -n {shown.namespace} {shown.name}"
        )
    if not shown.job:
        return session.refuse(f"{shown.namespace}/{shown.name} has had no attempt yet")
    return _print(session, shown, follow=follow, raw=raw)


def _print(session: Session, shown: CertificateStatus, *, follow: bool, raw: bool) -> Exit:
    """Of each pod once. With `follow` until the Job has ended: another pod may come after one that crashed."""
    read: set[str] = set()
    while True:
        goes_on, waits = follow and _goes_on(session, shown), False
        for pod in _pods(session, shown.job):
            name, state = pod["metadata"]["name"], (pod.get("status") or {}).get("phase")
            if state == "Pending":
                waits = True
            elif name not in read:
                read.add(name)
                for line in _lines(session, name, follow=follow):
                    session.terminal.line(line) if raw else session.terminal.line(*_told(line))
        if not goes_on:
            return Exit.DONE if read else session.refuse(_none(shown, waits=waits))
        session.surroundings.sleep(POLL)


def _goes_on(session: Session, shown: CertificateStatus) -> bool:
    """Whether its Job may have another pod: it has not ended, or was launched just now and is not there yet."""
    job = session.cluster.find(JOBS, session.certjob_namespace, shown.job)
    if job is None:
        return shown.attempt_at is not None and session.now - shown.attempt_at < JOB_LATEST
    return not is_finished(job)


def _none(shown: CertificateStatus, *, waits: bool) -> str:
    if waits:
        return f"the pod of Job {shown.job} has not started yet: use -f"
    how = f"kubectl certjob describe -n {shown.namespace} {shown.name}"
    return f"Job {shown.job} has no pods any more, they are kept for ten minutes: {how}"


def _pods(session: Session, job: str) -> list[Json]:
    """The oldest first."""
    pods = session.cluster.items(PODS, session.certjob_namespace, labels=f"job-name={job}")
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def _lines(session: Session, pod: str, *, follow: bool) -> Iterator[str]:
    query = f"log?follow={'true' if follow else 'false'}"
    path = f"{PODS.path(session.certjob_namespace, pod)}/{query}"
    try:
        for line in session.cluster.transport.stream(path, timeout=LONGEST_SILENCE):
            yield line.decode(errors="replace")
    except ApiError as problem:
        if problem.status not in {400, 404}:  # it has not started, or is gone
            raise


def _told(line: str) -> Iterator[Part]:
    """A line of JSON for people: time, step, what there is to know. What is none stays as it is."""
    try:
        fields = json.loads(line)
        moment, event = str(fields["time"])[11:21], str(fields["event"])
    except (ValueError, KeyError, TypeError, RecursionError):
        yield line
        return
    style = {"error": Style.BAD, "warning": Style.WARN}.get(str(fields.get("level")), Style.PLAIN)
    yield f"{moment:<12}"
    yield Cell(f"{event:<20}", style)
    rest = {key: value for key, value in fields.items() if key not in _LEFT_OUT and value not in ("", [], None)}
    bare = [_value(rest.pop(key)) for key in _BARE if key in rest]
    yield " " + "  ".join([*bare, *(f"{key}={_value(value)}" for key, value in rest.items())])


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
