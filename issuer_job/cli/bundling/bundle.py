"""What support needs to see of an installation, as a .tar.gz: no Secret is asked for, and every text is scrubbed."""

from __future__ import annotations

import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError, Exit
from issuer_job.cli.bundling.scrub import BundleScrubber
from issuer_job.cli.doctoring.facts import RESOURCES, Facts, MayNotRead, read
from issuer_job.cli.out import verdicts
from issuer_job.cli.sight.sweeps import Sweeps
from issuer_job.cluster.api import CONFIGMAPS, JOBS, PODS, Cluster, Json, KubeError, Resource
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.status.status import status

CORE_EVENTS = Resource("/api/v1", "events")
MOST_CERTIFICATES, MOST_OBJECTS = 5000, 2000
LOG_LINES, LOG_BYTES = 1000, 512 * 1024
LOGGED = ("webhook", "responder", "view", "sweep", "bootstrap")
MOST_PODS = 12
ABOUT = """\
What `kubectl certjob doctor --bundle` has found out about an installation of certjob.

Hosts and IP addresses are hashed with a key that was made for this bundle and is not in it; namespaces and names of
Secrets that are not called after hosts are as they are. Keys, tokens, certificates, serial numbers and mail addresses
are left out, and no Secret was asked for.
"""


def write_bundle(path: str, facts: Facts, found: Sequence[verdicts.Judged]) -> int:
    """Write it; its size in bytes. Raises CommandError if there is such a file already, KubeError."""
    scrubber = BundleScrubber.of(secrets.token_bytes(32), _hosts(facts))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in _files(facts, found):
            data = scrubber.text(text).encode(errors="replace")
            entry = tarfile.TarInfo(f"certjob-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(facts.session.now.timestamp()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise CommandError(f"{path}: {problem.strerror}", Exit.USAGE) from None
    try:
        with open(file, "wb") as out:
            out.write(made.getbuffer())
    except OSError as problem:
        with suppress(OSError):
            Path(path).unlink()
        raise CommandError(f"{path}: {problem.strerror}") from None
    return made.getbuffer().nbytes


def _hosts(facts: Facts) -> Iterator[str]:
    """All that are known to be hosts."""
    if not isinstance(facts.records, MayNotRead):
        for record in facts.records[0]:
            yield from record.intent.hosts
            yield from record.issued.hosts if record.issued is not None else ()
    claims = read(lambda: list(facts.cluster.items(CONFIGMAPS, facts.where, labels=f"{v.CLAIM}=true")))
    for claim in () if isinstance(claims, MayNotRead) else claims:
        yield str((claim.get("data") or {}).get("host") or "")


def _files(facts: Facts, found: Sequence[verdicts.Judged]) -> Iterator[tuple[str, str]]:
    """Names and texts."""
    where = facts.where
    yield "README.txt", ABOUT
    report = verdicts.Report(kind="DoctorReport", subjects=(verdicts.about((where, found)),))
    yield "doctor.json", _text(msgspec.to_builtins(report))
    yield "versions.json", _text({"plugin": v.VERSION, "kubernetes": facts.kubernetes})
    yield "certificates.json", _text(_certificates(facts, facts.session.now))
    yield "issuers.json", _text(msgspec.to_builtins(facts.issuer_statuses))
    for name, listed in {
        "deployments.json": RESOURCES["Deployment"],
        "cron-jobs.json": RESOURCES["CronJob"],
        "pod-templates.json": RESOURCES["PodTemplate"],
        "jobs.json": JOBS,
        "pods.json": PODS,
        "quotas.json": RESOURCES["ResourceQuota"],
        "events.json": CORE_EVENTS,
    }.items():
        yield name, _text(_listed(lambda listed=listed: facts.cluster.items(listed, where)))  # type: ignore[misc]
    yield "webhook-configuration.json", _text(_shown(facts.webhook_configuration))
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
        every = _listed(lambda kind=kind: facts.cluster.items(RESOURCES[kind], None, labels=f"{v.APP_NAME}=certjob"))  # type: ignore[misc]
        yield f"{RESOURCES[kind].plural}.json", _text(every)
    yield from _logs(facts)


def _certificates(facts: Facts, now: datetime) -> object:
    """Their status, those that fail first."""
    records, sweeps, issuers = facts.records, facts.sweeps, facts.issuers
    if isinstance(records, MayNotRead):
        return {"unread": records.why}
    interval = sweeps.interval if isinstance(sweeps, Sweeps) else SWEEP_INTERVAL
    known = None if isinstance(issuers, MayNotRead) else issuers
    every = [status(record, now=now, interval=interval, issuers=known) for record in records[0]]
    every.sort(key=lambda shown: bool(shown.ready))
    told = [msgspec.to_builtins(one) for one in every[:MOST_CERTIFICATES]]
    for one in told:
        if one["certificate"]:
            one["certificate"]["serial"] = ""  # by it everybody finds the hosts in the logs of CAs
    return {"count": len(every), "items": told}


def _listed(items: Callable[[], Iterable[Json]]) -> object:
    found = read(lambda: [_bare(item) for item in items()])
    return {"unread": found.why} if isinstance(found, MayNotRead) else found[-MOST_OBJECTS:]


def _shown(found: Json | MayNotRead | None) -> object:
    return {"unread": found.why} if isinstance(found, MayNotRead) else found


def _bare(item: Json) -> Json:
    """Without what says who wrote what."""
    metadata = {key: each for key, each in item["metadata"].items() if key != "managedFields"}
    notes = (metadata.get("annotations") or {}).items()
    kept = {key: each for key, each in notes if not key.endswith("last-applied-configuration")}
    return item | {"metadata": metadata | {"annotations": kept}}


def _logs(facts: Facts) -> Iterator[tuple[str, str]]:
    """The end of the log of each of the newest pods."""
    pods = read(lambda: list(facts.cluster.items(PODS, facts.where)))
    found = [] if isinstance(pods, MayNotRead) else [pod["metadata"] for pod in pods]
    logged = [one for one in found if (one.get("labels") or {}).get(v.APP_COMPONENT) in LOGGED]
    for metadata in sorted(logged, key=lambda one: str(one.get("creationTimestamp")))[-MOST_PODS:]:
        query = urlencode({"tailLines": LOG_LINES, "limitBytes": LOG_BYTES})
        path = f"{PODS.path(facts.where, metadata['name'])}/log?{query}"
        yield f"logs/{metadata['name']}.log", _log(facts.cluster, path)


def _log(cluster: Cluster, path: str) -> str:
    try:
        return b"\n".join(cluster.transport.stream(path, timeout=cluster.timeout)).decode(errors="replace")
    except KubeError as problem:
        return str(problem)


def _text(document: object) -> str:
    return json.dumps(document, indent=1, default=str)
