"""What every kind of source has in common: how it is read, and its annotations, issuer and hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certs import hostnames
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.aliases.cert_manager import Aliases
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import type_of
from issuer_job.record import intents
from issuer_job.record.annotations import read_moment, read_settings
from issuer_job.record.record import IngressClass, Problem, Settings, Source, SourceKind

MAX_HOSTS = intents.MAX_HOSTS
ALIASES = "aliases"
"""Key of an object's `Aliases`, beside its metadata: nothing that the API server stores has it."""


class NoticeReason(StrEnum):
    """Why something is not as the user may expect it."""

    NOT_OPTED_IN = "NotOptedIn"
    BEING_DELETED = "BeingDeleted"
    NO_HOSTS = "NoHosts"
    NO_SECRET_NAME = "NoSecretName"  # noqa: S105 - a word, not a secret
    BAD_SECRET_NAME = "BadSecretName"  # noqa: S105 - a word, not a secret
    BAD_HOST = "BadHost"
    WILDCARD = "WildcardNeedsDns"
    NO_SOLVER = "NoSolver"
    HOST_NOT_ALLOWED = "HostNotAllowed"
    TOO_MANY_HOSTS = "TooManyHosts"
    TOO_LARGE = "TooLarge"
    NO_DEFAULT_ISSUER = "NoDefaultIssuer"
    UNKNOWN_ISSUER = "UnknownIssuer"
    BROKEN_ISSUER = "BrokenIssuer"
    ISSUER_NOT_ALLOWED = "IssuerNotAllowed"
    BAD_ANNOTATION = "BadAnnotation"
    IGNORED = "Ignored"
    """Said once, to whoever writes it: it does no harm."""


@dataclass(frozen=True)
class Notice:
    """Something the user should know; `message` is one line that says what to do."""

    reason: NoticeReason
    message: str


@dataclass(frozen=True)
class Entry:
    """One certificate wanted: the Secret's name, and the record's source with the hosts sorted, each once.

    `renamed_from` is the Secret that it named for these hosts until just now, and names no more.
    `problem` is what an operator has to put right first: it is written down, not ordered. Only of a kind that is not
    listed.
    """

    secret_name: str
    source: Source
    problem: Problem | None = None
    renamed_from: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts of the certificate."""
        return self.source.hosts


@dataclass(frozen=True)
class Wants:
    """What follows from one object; without entries its owner has to correct what the notices say.

    `completed` is the object with what admission adds, if it lacks that.
    """

    opted_in: bool
    entries: tuple[Entry, ...] = ()
    notices: tuple[Notice, ...] = ()
    completed: Json | None = None

    @property
    def amiss(self) -> tuple[Notice, ...]:
        """What its owner should correct."""
        return tuple(notice for notice in self.notices if notice.reason is not NoticeReason.IGNORED)

    def of(self, secret_name: str) -> Entry | None:
        """What it wants of that Secret."""
        return next((entry for entry in self.entries if entry.secret_name == secret_name), None)


def annotations_of(asker: Json) -> dict[str, str]:
    """The annotations, or none; of an object that was `aliased` those that others' stand for, too."""
    aliases: Aliases | None = asker.get(ALIASES)
    own = written_annotations(asker)
    return own if aliases is None else {**aliases.annotations, **own}


def written_annotations(asker: Json) -> dict[str, str]:
    """The annotations that it has, or none."""
    return asker.get("metadata", {}).get("annotations") or {}


def is_being_deleted(asker: Json) -> bool:
    """Whether it wants nothing any more."""
    return bool(asker.get("metadata", {}).get("deletionTimestamp"))


def source_of(
    asker: Json, kind: SourceKind, hosts: Iterable[str], settings: Settings, ingress_class: IngressClass
) -> Source:
    """The object as a record's source. At its CREATE it has no uid and no age yet."""
    metadata = asker["metadata"]
    created = metadata.get("creationTimestamp")
    return Source(
        hosts=tuple(sorted(hosts)),
        settings=settings,
        ingress_class=ingress_class,
        kind=kind,
        name=metadata.get("name") or "",
        generate_name=metadata.get("generateName") or "",
        uid=metadata.get("uid") or "",
        created=datetime.fromisoformat(created) if created else None,
        retry=annotations_of(asker).get(v.RETRY, ""),
        renew=read_moment(annotations_of(asker).get(v.RENEW, "")),
    )


def named_issuer(
    asker: Json, issuers: Issuers, *, ingress_class: IngressClass | None = None
) -> tuple[Issuer | None, list[Notice]]:
    """The issuer that the object names, or the default one, if its namespace and its class may use it."""
    namespace = asker.get("metadata", {}).get("namespace", "")
    name = annotations_of(asker).get(v.ISSUER) or issuers.default
    short, issuer = name[:63], issuers.valid.get(name)
    if not name:
        notice = Notice(NoticeReason.NO_DEFAULT_ISSUER, f"no default issuer: set the annotation {v.ISSUER}")
    elif name in issuers.broken:
        notice = Notice(NoticeReason.BROKEN_ISSUER, issuers.broken[name])
    elif issuer is None:
        known = ", ".join(sorted(issuers.valid))[:60] or "none"
        notice = Notice(NoticeReason.UNKNOWN_ISSUER, f"unknown issuer {short}; known: {known}")
    elif not issuer.allows_namespace(namespace):
        notice = Notice(NoticeReason.ISSUER_NOT_ALLOWED, f"issuer {short} is not for namespace {namespace}")
    elif ingress_class is not None and not issuer.allows_class(ingress_class.name):
        notice = Notice(NoticeReason.ISSUER_NOT_ALLOWED, f"issuer {short} is not for this Ingress class")
    else:
        return issuer, []
    return None, [notice]


def settings_of(asker: Json, issuers: Issuers) -> tuple[Settings | None, list[Notice]]:
    """What the annotations ask for, None if that cannot be met."""
    settings, wrong = read_settings(annotations_of(asker), default=issuers.default)
    return settings, [Notice(NoticeReason.BAD_ANNOTATION, line) for line in wrong]


def host_problem(host: str, issuer: Issuer | None, *, namespace: str, ingress_class: str | None) -> Notice | None:
    """Why the issuer has no certificate with this host for this namespace and class, None if it has.

    Of an issuer that is not known nothing can be said but what is no host for any.
    """
    private = issuer is None or issuer.private_names or type_of(issuer).private_names
    suffixes = frozenset[str]() if private else hostnames.PRIVATE_SUFFIXES
    wildcard = host.startswith("*.")
    problem = hostnames.check_host(host, allow_wildcard=wildcard, private_suffixes=suffixes)
    if problem is not None:
        return Notice(NoticeReason.BAD_HOST, problem.message)
    if issuer is None:
        return None
    if not issuer.allows_host(namespace, host):
        return Notice(
            NoticeReason.HOST_NOT_ALLOWED, f"{host[:70]}: the issuer is not for this host in this namespace"
        )
    if not type_of(issuer).proves_hosts or issuer.solver(host, ingress_class) is not None:
        return None
    if wildcard:
        return Notice(NoticeReason.WILDCARD, f"{host[:70]}: a wildcard needs DNS-01, which the issuer has not for it")
    return Notice(NoticeReason.NO_SOLVER, f"{host[:70]}: none of the issuer's solvers is for this host")
