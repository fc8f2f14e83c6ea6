"""What a Secret with the label `certjob.io/request=true` asks for: a certificate without an Ingress.

One pure function for webhook, Job and sweep, which know the Secret's metadata from the review or from a look: nobody
can get or list it. So its record keeps itself alive, until a look has shown that the Secret asks no more.
"""

from __future__ import annotations

from certs import hostnames
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import (
    MAX_HOSTS,
    Entry,
    Notice,
    NoticeReason,
    Wants,
    annotations_of,
    created_at,
    host_problem,
    is_being_deleted,
    named_issuer,
    settings_of,
)
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.annotations import listed
from issuer_job.record.record import IngressClass, Problem, Settings, Source, SourceKind

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


def opts_in(secret: Json, *, namespace_enabled: bool = False) -> bool:
    """By its label. One that is being deleted asks for nothing."""
    asking = (secret["metadata"].get("labels") or {}).get(v.REQUEST) == "true"
    return asking and not is_being_deleted(secret)


def named_secrets(secret: Json, *, namespace_enabled: bool = False) -> frozenset[str]:
    """Itself."""
    return frozenset({secret["metadata"]["name"]} if opts_in(secret) else ())


def named_hosts(secret: Json) -> set[str]:
    """Those of its annotation."""
    return set(hosts_of(secret))


def serves(issuer: Issuer, source: Source) -> bool:
    """Any: it has no class but the one that its issuer gives it."""
    return True


def completed(secret: Json, *, issuers: Issuers) -> Json | None:
    """Nothing: admission refuses what is not whole."""
    return None


def hosts_of(secret: Json) -> tuple[str, ...]:
    """The hosts that the annotation lists, normalized, sorted, each once."""
    return tuple(sorted({hostnames.normalize(host) for host in listed(annotations_of(secret).get(v.HOSTS, ""))}))


def wants(secret: Json, *, issuers: Issuers, namespace_enabled: bool = False) -> Wants:
    """See `SourceReader`: one certificate, in itself."""
    if not opts_in(secret):
        return Wants(False, notices=(Notice(NoticeReason.NOT_OPTED_IN, "not opted in"),))
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
        return Wants(True, notices=tuple(notices))
    held_up = next((notice for notice in notices if notice.reason in _OPERATORS), None)
    source = _source(secret, hosts, settings, IngressClass(field=own_class))
    problem_now = None if held_up is None else _problem(held_up)
    return Wants(True, (Entry(metadata["name"], source, problem_now),), tuple(notices))


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
    return Source(
        hosts=hosts,
        settings=settings,
        ingress_class=own_class,
        kind=SourceKind.SECRET,
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        created=created_at(secret),
        retry=annotations_of(secret).get(v.RETRY, ""),
    )
