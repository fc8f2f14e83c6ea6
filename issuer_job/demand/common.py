"""What everything that asks for a certificate has in common, Ingress or Secret: annotations, issuer, hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from certs import formats, hostnames
from certs.duration import parse_duration
from certs.errors import CertError
from certs.keys import KeyAlgorithm
from issuer_job import vocabulary as v
from issuer_job.issuers.load import Issuers, is_issuer_name
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import type_of
from issuer_job.record.record import Settings

MAX_HOSTS = 100
"""Names in one certificate: Let's Encrypt's limit."""


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
    NO_DEFAULT_ISSUER = "NoDefaultIssuer"
    UNKNOWN_ISSUER = "UnknownIssuer"
    BROKEN_ISSUER = "BrokenIssuer"
    ISSUER_NOT_ALLOWED = "IssuerNotAllowed"
    BAD_ANNOTATION = "BadAnnotation"


@dataclass(frozen=True)
class Notice:
    """Something the user should know; `message` is one line that says what to do."""

    reason: NoticeReason
    message: str


def named_issuer(notes: Mapping[str, str], issuers: Issuers, *, namespace: str) -> tuple[Issuer | None, list[Notice]]:
    """The issuer that the annotations name, or the default one, if this namespace may use it."""
    name = notes.get(v.ISSUER) or issuers.default
    short = name[:63]
    if not name:
        return None, [Notice(NoticeReason.NO_DEFAULT_ISSUER, f"no default issuer: set the annotation {v.ISSUER}")]
    if name in issuers.broken:
        return None, [Notice(NoticeReason.BROKEN_ISSUER, issuers.broken[name])]
    issuer = issuers.valid.get(name)
    if issuer is None:
        known = ", ".join(sorted(issuers.valid))[:60] or "none"
        return None, [Notice(NoticeReason.UNKNOWN_ISSUER, f"unknown issuer {short}; known: {known}")]
    if not issuer.allows_namespace(namespace):
        return None, [Notice(NoticeReason.ISSUER_NOT_ALLOWED, f"issuer {short} is not for namespace {namespace}")]
    return issuer, []


def settings_of(notes: Mapping[str, str], *, default: str) -> tuple[Settings | None, list[Notice]]:
    """What the annotations ask for, None if that cannot be met; `default` is the default issuer's name."""
    algorithm = notes.get(v.KEY_ALGORITHM, "")
    if algorithm and algorithm not in set(KeyAlgorithm):
        message = f"{v.KEY_ALGORITHM}: not one of {', '.join(KeyAlgorithm)}"
        return None, [Notice(NoticeReason.BAD_ANNOTATION, message)]
    for key in (v.PROFILE, v.PREFERRED_CHAIN, v.RENEW_BEFORE, v.RETRY):
        if len(notes.get(key, "")) > 100:
            return None, [Notice(NoticeReason.BAD_ANNOTATION, f"{key}: longer than 100 characters")]
    if (issuer := notes.get(v.ISSUER, "")) and not is_issuer_name(issuer):
        return None, [Notice(NoticeReason.BAD_ANNOTATION, f"{v.ISSUER}: not the name of an issuer")]
    wanted, unknown = formats.known(listed(notes.get(v.FORMATS, "")[:1000]))
    settings = Settings(
        issuer=issuer or default,
        key_algorithm=algorithm,
        profile=notes.get(v.PROFILE, ""),
        preferred_chain=notes.get(v.PREFERRED_CHAIN, ""),
        formats=wanted,
    )
    # A certificate without the wish is better than none.
    notices = [Notice(NoticeReason.BAD_ANNOTATION, f"{v.FORMATS}: unknown format {name[:40]!r}") for name in unknown]
    if not notes.get(v.RENEW_BEFORE):
        return settings, notices
    try:
        before = parse_duration(notes[v.RENEW_BEFORE])
    except CertError as problem:
        return settings, [*notices, Notice(NoticeReason.BAD_ANNOTATION, f"{v.RENEW_BEFORE}: {problem}"[:119])]
    return replace(settings, renew_before=max(1, int(before.total_seconds()))), notices


def host_problem(host: str, issuer: Issuer, *, namespace: str, ingress_class: str | None) -> Notice | None:
    """Why the issuer has no certificate with this host for this namespace and class, None if it has."""
    private = issuer.private_names or type_of(issuer).private_names
    suffixes = frozenset[str]() if private else hostnames.PRIVATE_SUFFIXES
    wildcard = host.startswith("*.")
    problem = hostnames.check_host(host, allow_wildcard=wildcard, private_suffixes=suffixes)
    if problem is not None:
        return Notice(NoticeReason.BAD_HOST, problem.message)
    if not issuer.allows_host(namespace, host):
        return Notice(
            NoticeReason.HOST_NOT_ALLOWED, f"{host[:70]}: the issuer is not for this host in this namespace"
        )
    if not type_of(issuer).proves_hosts or issuer.solver(host, ingress_class) is not None:
        return None
    if wildcard:
        return Notice(NoticeReason.WILDCARD, f"{host[:70]}: a wildcard needs DNS-01, which the issuer has not for it")
    return Notice(NoticeReason.NO_SOLVER, f"{host[:70]}: none of the issuer's solvers is for this host")


def listed(text: str) -> list[str]:
    """The parts of a list separated by commas, without blanks."""
    return [part for word in text.split(",") if (part := word.strip())]
