"""What a Secret with the label `certjob.io/request=true` asks for: a certificate without an Ingress.

One pure function for webhook, Job and sweep, which know the Secret's metadata from the review or from a look: nobody
can get or list it. So its record keeps itself alive, until a look has shown that the Secret asks no more.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    host_problem,
    is_being_deleted,
    named_issuer,
    settings_of,
    source_of,
)
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass, Problem, Source, SourceKind

_MOST_WORDS = 1000
_OPERATORS = dict.fromkeys(
    (NoticeReason.ISSUER_NOT_ALLOWED, NoticeReason.WILDCARD, NoticeReason.NO_SOLVER, NoticeReason.HOST_NOT_ALLOWED),
    "notCertifiable",
) | {NoticeReason.UNKNOWN_ISSUER: "unknownIssuer", NoticeReason.BROKEN_ISSUER: "brokenIssuer"}
"""Types of the problems that an issuer's configuration can mend; the rest its owner has to correct."""


def aliased(secret: Json) -> Json:
    """Itself: no other tool has annotations for it."""
    return secret


def opts_in(secret: Json, *, namespace_enabled: bool = False) -> bool:
    """By its label. One that is being deleted asks for nothing."""
    asking = (secret["metadata"].get("labels") or {}).get(v.REQUEST) == "true"
    return asking and not is_being_deleted(secret)


def named_secrets(secret: Json, *, namespace_enabled: bool = False) -> frozenset[str]:
    """Itself."""
    return frozenset({secret["metadata"]["name"]} if opts_in(secret) else ())


def served_secrets(secret: Json) -> frozenset[str]:
    """None: it serves nothing."""
    return frozenset()


def named_hosts(secret: Json) -> set[str]:
    """Those of its annotation; what follows on the first thousand is one name that is none."""
    words = annotations_of(secret).get(v.HOSTS, "").split(",", _MOST_WORDS)
    return {hostnames.normalize(host) for word in words if (host := word.strip())}


def serves(issuer: Issuer, source: Source) -> bool:
    """Any: it has no class but the one that its issuer gives it."""
    return True


def wants(secret: Json, *, issuers: Issuers, namespace_enabled: bool = False) -> Wants:
    """See `SourceReader`: one certificate, in itself."""
    if not opts_in(secret):
        return Wants(False)
    issuer, notices = named_issuer(secret, issuers)
    settings, wrong = settings_of(secret, issuers)
    metadata, hosts = secret["metadata"], sorted(named_hosts(secret))
    own_class = IngressClass(field=(issuer.own_class if issuer else "") or None)
    notices += [*_bounds(metadata.get("name") or "", len(hosts)), *wrong]
    for host in hosts[:MAX_HOSTS]:
        problem = host_problem(host, issuer, namespace=metadata.get("namespace", ""), ingress_class=own_class.field)
        notices += [problem] if problem else []
    # A wish that cannot be read costs no certificate; whether the settings can be met is said by themselves.
    owners = {notice.reason for notice in notices} - {NoticeReason.BAD_ANNOTATION, *_OPERATORS}
    if settings is None or owners:
        return Wants(True, notices=tuple(notices))
    problems = (
        Problem(type=_OPERATORS[notice.reason], detail=notice.message, step="request")
        for notice in notices
        if notice.reason in _OPERATORS
    )
    source = source_of(secret, SourceKind.SECRET, hosts, settings, own_class)
    return Wants(True, (Entry(metadata["name"], source, next(problems, None)),), tuple(notices))


def _bounds(name: str, hosts: int) -> Iterator[Notice]:
    if not name:
        said = "metadata.name is missing: generateName is not for these Secrets"
        yield Notice(NoticeReason.BAD_SECRET_NAME, said)
    elif not names.is_dns_subdomain(name):
        yield Notice(NoticeReason.BAD_SECRET_NAME, f"{name[:60]!r} cannot be the name of a Secret")
    if not hosts:
        said = f"no hosts: list them in the annotation {v.HOSTS}, separated by commas"
        yield Notice(NoticeReason.NO_HOSTS, said)
    if hosts > MAX_HOSTS:
        yield Notice(NoticeReason.TOO_MANY_HOSTS, f"{hosts} hosts, a certificate holds at most {MAX_HOSTS}")
