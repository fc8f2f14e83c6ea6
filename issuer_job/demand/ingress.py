"""What an Ingress wants: one pure function for webhook, Job and sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.aliases.cert_manager import Aliases
from issuer_job.demand.common import (
    ALIASES,
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
from issuer_job.demand.ingress_spec import (
    MAX_NAMES,
    TlsEntry,
    aliased,
    from_list,
    hosts_by_secret,
    ingress_class,
    named_hosts,
    own_entry,
    rule_hosts,
    spec_of,
    with_entry,
)
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Intent, Settings, Source, SourceKind

__all__ = [
    "IngressWants",
    "aliased",
    "from_list",
    "ingress_class",
    "named_hosts",
    "named_secrets",
    "opts_in",
    "served_secrets",
    "serves",
    "wants",
]


@dataclass(frozen=True)
class IngressWants(Wants):
    """What follows from an Ingress. `added` is set when spec.tls shall hold certjob's own entry."""

    added: TlsEntry | None = None


def opts_in(ingress: Json, *, namespace_enabled: bool = False) -> bool:
    """kube-lego's annotation, an issuer's name, or the namespace's label; an explicit "false" beats them all."""
    notes = annotations_of(ingress)
    tls_acme = notes.get(v.TLS_ACME, "").lower()
    if tls_acme == "false":
        return False
    return tls_acme == "true" or bool(notes.get(v.ISSUER)) or namespace_enabled


def named_secrets(ingress: Json, *, namespace_enabled: bool = False) -> frozenset[str]:
    """See `SourceReader`."""
    asks = not is_being_deleted(ingress) and opts_in(ingress, namespace_enabled=namespace_enabled)
    return served_secrets(ingress) if asks else frozenset()


def served_secrets(ingress: Json) -> frozenset[str]:
    """See `SourceReader`."""
    return frozenset(entry.secret_name for entry in spec_of(ingress).entries if entry.secret_name)


def serves(issuer: Issuer, source: Source) -> bool:
    """See `SourceReader`."""
    return issuer.allows_class(source.ingress_class.name)


def wants(
    ingress: Json, *, issuers: Issuers, namespace_enabled: bool = False, former: TlsEntry | None = None
) -> IngressWants:
    """See `SourceReader`.

    `former` is certjob's own entry before an update: an update without spec.tls keeps its Secret's name.
    """
    if not opts_in(ingress, namespace_enabled=namespace_enabled):
        return IngressWants(False, notices=(Notice(NoticeReason.NOT_OPTED_IN, "not opted in"),))
    if is_being_deleted(ingress):
        return IngressWants(False, notices=(Notice(NoticeReason.BEING_DELETED, "the Ingress is being deleted"),))
    whole, spec = ingress, spec_of(ingress)
    if spec.is_too_large:
        message = f"more than {MAX_NAMES} rules and tls hosts: left alone, split the Ingress"
        return IngressWants(True, notices=(Notice(NoticeReason.TOO_LARGE, message),))
    ingress = whole | {"spec": spec}
    aliases: Aliases | None = ingress.get(ALIASES)
    if aliases is not None and aliases.refused:
        refused = (Notice(NoticeReason.BAD_ANNOTATION, line) for line in aliases.refused)
        return IngressWants(True, notices=tuple(refused))
    issuer, notices = named_issuer(ingress, issuers, ingress_class=ingress_class(ingress))
    if issuer is None:
        return IngressWants(True, notices=tuple(notices))
    settings, notices = settings_of(ingress, issuers)
    if settings is None:
        return IngressWants(True, notices=tuple(notices))
    requests, added, more = _tls_entries(ingress, issuer, settings, former)
    notices += more
    if aliases is not None and aliases.ignored:
        ignored = f"ignored, as they change nothing here: {', '.join(aliases.ignored)}"
        notices.append(Notice(NoticeReason.IGNORED, ignored))
    entries = []
    for secret_name, hosts in requests.items():
        problems = _entry_problems(secret_name, hosts, issuer, ingress)
        if problems:
            notices += problems
            added = None
            continue
        source = source_of(ingress, SourceKind.INGRESS, hosts, settings, ingress_class(ingress))
        entries.append(Entry(secret_name, source))
    completed = with_entry(whole, added) if added is not None and own_entry(ingress) is None else None
    return IngressWants(True, tuple(entries), tuple(dict.fromkeys(notices)), completed, added)


def _tls_entries(
    ingress: Json, issuer: Issuer, settings: Settings, former: TlsEntry | None
) -> tuple[dict[str, list[str]], TlsEntry | None, list[Notice]]:
    """Hosts by Secret name (entries that name one Secret twice are joined), and certjob's own entry if any."""
    tls, own = spec_of(ingress).entries, own_entry(ingress)
    if not tls or own is not None:
        return _added(ingress, issuer, settings, own or former)
    notices = [
        Notice(NoticeReason.NO_SECRET_NAME, f"spec.tls[{number}] has no secretName: no certificate for it")
        for number, entry in enumerate(tls)
        if not entry.secret_name
    ]
    return hosts_by_secret(ingress), None, notices


def _added(
    ingress: Json, issuer: Issuer, settings: Settings, own: TlsEntry | None
) -> tuple[dict[str, list[str]], TlsEntry | None, list[Notice]]:
    """All rule hosts that can be certified, under a name that is the same at every re-apply: whatever becomes of the
    hosts later, it stays.
    """
    hosts: list[str] = []
    notices: list[Notice] = []
    for host in rule_hosts(ingress):
        problem = _host_problem(host, issuer, ingress)
        if problem is None:
            hosts.append(host)
        else:
            notices.append(problem)
    if not hosts:
        notices.append(Notice(NoticeReason.NO_HOSTS, "no host in spec.rules to get a certificate for"))
        return {}, None, notices
    secret_name = own.secret_name if own else _shared_name(tuple(hosts), settings)
    return {secret_name: hosts}, TlsEntry(secret_name, tuple(hosts)), notices


def _shared_name(hosts: tuple[str, ...], settings: Settings) -> str:
    """The name for all in the namespace that want the same."""
    return names.added_secret(hosts, Intent(hosts=tuple(sorted(hosts)), settings=settings).hash)


def _entry_problems(secret_name: str, hosts: Iterable[str], issuer: Issuer, ingress: Json) -> list[Notice]:
    hosts = list(hosts)
    if not hosts:
        return [
            Notice(
                NoticeReason.NO_HOSTS, f"Secret {secret_name[:60]}: no hosts in its spec.tls entry nor in spec.rules"
            )
        ]
    if not names.is_dns_subdomain(secret_name):
        return [Notice(NoticeReason.BAD_SECRET_NAME, f"{secret_name[:60]!r} cannot be the name of a Secret")]
    if len(hosts) > MAX_HOSTS:
        message = f"Secret {secret_name[:60]}: {len(hosts)} hosts, a certificate holds at most {MAX_HOSTS}"
        return [Notice(NoticeReason.TOO_MANY_HOSTS, message)]
    return [problem for host in hosts if (problem := _host_problem(host, issuer, ingress))]


def _host_problem(host: str, issuer: Issuer, ingress: Json) -> Notice | None:
    namespace = ingress.get("metadata", {}).get("namespace", "")
    return host_problem(host, issuer, namespace=namespace, ingress_class=ingress_class(ingress).name)
