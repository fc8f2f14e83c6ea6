"""What a Secret with the label `certjob.io/request=true` asks for: a certificate without an Ingress.

One pure function for webhook, Job and sweep, which know the Secret's metadata from the review or from a look: nobody
can get or list it. So its record keeps itself alive, until a look has shown that the Secret asks no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from certs import hostnames
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import MAX_HOSTS, Notice, NoticeReason, host_problem, listed, named_issuer, settings_of
from issuer_job.demand.ingress import Entry, annotations_of
from issuer_job.demand.plan import GONE
from issuer_job.issuers.load import Issuers
from issuer_job.record import intents, transitions
from issuer_job.record.record import IngressClass, Phase, Problem, Record, Settings, Source, SourceKind

_OPERATORS = frozenset(
    {
        NoticeReason.UNKNOWN_ISSUER,
        NoticeReason.BROKEN_ISSUER,
        NoticeReason.ISSUER_NOT_ALLOWED,
        NoticeReason.WILDCARD,
        NoticeReason.NO_SOLVER,
        NoticeReason.HOST_NOT_ALLOWED,
    }
)
"""What an issuer's configuration can change; the rest its owner has to correct."""
_PROBLEM_TYPES = {NoticeReason.UNKNOWN_ISSUER: "unknownIssuer", NoticeReason.BROKEN_ISSUER: "brokenIssuer"}


@dataclass(frozen=True)
class Asked:
    """What follows from a Secret that asks. Without an `entry` its owner has to correct what the notices say."""

    entry: Entry | None = None
    notices: tuple[Notice, ...] = ()


def asks(secret: Json) -> bool:
    """Whether a Secret, of which the metadata will do, asks for a certificate and is not being deleted."""
    metadata = secret["metadata"]
    asking = (metadata.get("labels") or {}).get(v.REQUEST) == "true"
    return asking and not metadata.get("deletionTimestamp")


def hosts_of(secret: Json) -> tuple[str, ...]:
    """The hosts that the annotation lists, normalized, sorted, each once."""
    return tuple(sorted({hostnames.normalize(host) for host in listed(annotations_of(secret).get(v.HOSTS, ""))}))


def asked(secret: Json, *, issuers: Issuers) -> Asked:
    """What certificate the Secret asks for, and what is wrong with that. Never raises for user input."""
    metadata, notes = secret["metadata"], annotations_of(secret)
    issuer, issuer_notices = named_issuer(notes, issuers, namespace=metadata.get("namespace", ""))
    settings, notices = settings_of(notes, default=issuers.default)
    own_class = (issuer.own_class if issuer else "") or None
    hosts = hosts_of(secret)
    notices = [*issuer_notices, *_name_problems(metadata), *_count_problems(hosts), *notices]
    for host in hosts[:MAX_HOSTS]:
        problem: Notice | None
        if issuer is not None:
            namespace = metadata.get("namespace", "")
            problem = host_problem(host, issuer, namespace=namespace, ingress_class=own_class)
        else:
            found = hostnames.check_host(host, allow_wildcard=host.startswith("*."), private_suffixes=())
            problem = Notice(NoticeReason.BAD_HOST, found.message) if found is not None else None
        if problem is not None:
            notices.append(problem)
    wrong = [notice for notice in notices if notice.reason not in _OPERATORS]
    if settings is None or any(_stops(notice) for notice in wrong):
        return Asked(notices=tuple(notices))
    held_up = next((notice for notice in notices if notice.reason in _OPERATORS), None)
    source = _source(secret, hosts, settings, IngressClass(field=own_class))
    problem_now = None if held_up is None else _problem(held_up)
    return Asked(Entry(metadata["name"], source, problem_now), tuple(notices))


def standing(record: Record) -> tuple[Source, ...]:
    """The Secret's own source of a record, as long as nobody has seen that it asks no more: one or none."""
    if record.phase in GONE:
        return ()
    return tuple(
        source for source in record.sources if source.kind is SourceKind.SECRET and source.gone_since is None
    )


def held_up(
    existing: Record | None,
    entry: Entry,
    problem: Problem,
    *,
    namespace: str,
    now: datetime,
    wait: timedelta,
    issuer: str,
) -> Record | None:
    """The record of a certificate that cannot be ordered as things stand; None if it need not be written.

    An attempt or a certificate for the same intent is left alone. `issuer` stands for the issuer's configuration:
    when that is another one, or after `wait`, the sweep tries again.
    """
    if existing is None:
        made = transitions.wanted(
            namespace=namespace, secret_name=entry.secret_name, sources=(entry.source,), now=now
        )
        return transitions.waiting(made, problem=problem, now=now, wait=wait, issuer=issuer)
    record = with_new_intent(existing, entry)
    if record is None:
        return None
    return transitions.waiting(record, problem=problem, now=now, wait=wait, issuer=issuer)


def with_new_intent(existing: Record, entry: Entry) -> Record | None:
    """The record with what the entry asks for, before it moves; None if it says so already."""
    gone = existing.phase in GONE
    sources = (entry.source,) if gone else intents.joined(existing.sources, entry.source)
    record = intents.intended(existing, sources=sources)
    same = record.intent.hash == existing.intent.hash and not gone and existing.phase is not Phase.WANTED
    return None if same else record


def _stops(notice: Notice) -> bool:
    """A wish that cannot be read costs no certificate; whether the settings can be met is said by themselves."""
    return notice.reason is not NoticeReason.BAD_ANNOTATION


def _name_problems(metadata: Json) -> list[Notice]:
    name = metadata.get("name") or ""
    if not name:
        return [
            Notice(NoticeReason.BAD_SECRET_NAME, "metadata.name is missing: generateName is not for these Secrets")
        ]
    if not names.is_dns_subdomain(name):
        return [Notice(NoticeReason.BAD_SECRET_NAME, f"{name[:60]!r} cannot be the name of a Secret")]
    return []


def _count_problems(hosts: tuple[str, ...]) -> list[Notice]:
    if not hosts:
        return [
            Notice(NoticeReason.NO_HOSTS, f"no hosts: list them in the annotation {v.HOSTS}, separated by commas")
        ]
    if len(hosts) > MAX_HOSTS:
        return [Notice(NoticeReason.TOO_MANY_HOSTS, f"{len(hosts)} hosts, a certificate holds at most {MAX_HOSTS}")]
    return []


def _problem(notice: Notice) -> Problem:
    return Problem(type=_PROBLEM_TYPES.get(notice.reason, "notCertifiable"), detail=notice.message, step="request")


def _source(secret: Json, hosts: tuple[str, ...], settings: Settings, own_class: IngressClass) -> Source:
    metadata = secret["metadata"]
    created = metadata.get("creationTimestamp")
    return Source(
        hosts=hosts,
        settings=settings,
        ingress_class=own_class,
        kind=SourceKind.SECRET,
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        created=datetime.fromisoformat(created) if created else None,
        retry=annotations_of(secret).get(v.RETRY, ""),
    )
