"""What an Ingress wants: one pure function for webhook, Job and sweep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
from issuer_job.record.record import IngressClass, Source, SourceKind


@dataclass(frozen=True)
class TlsEntry:
    """The spec.tls entry that certjob adds to the Ingress, or already added."""

    secret_name: str
    hosts: tuple[str, ...]

    @property
    def marker(self) -> str:
        """Value of the annotation that marks the entry as certjob's."""
        return f"{self.secret_name} {names.digest(*self.hosts)}"


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
    if is_being_deleted(ingress) or not opts_in(ingress, namespace_enabled=namespace_enabled):
        return frozenset()
    return frozenset(entry["secretName"] for entry in _tls(ingress) if entry.get("secretName"))


def named_hosts(ingress: Json) -> set[str]:
    """Those in its rules and in spec.tls."""
    return {hostnames.normalize(host) for entry in _tls(ingress) for host in entry.get("hosts") or []} | set(
        rule_hosts(ingress)
    )


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
    issuer, notices = named_issuer(ingress, issuers, ingress_class=ingress_class(ingress))
    if issuer is None:
        return IngressWants(True, notices=tuple(notices))
    settings, notices = settings_of(ingress, issuers)
    if settings is None:
        return IngressWants(True, notices=tuple(notices))
    requests, added, more = _tls_entries(ingress, issuer, former)
    notices += more
    entries = []
    for secret_name, hosts in requests.items():
        problems = _entry_problems(secret_name, hosts, issuer, ingress)
        if problems:
            notices += problems
            added = None
            continue
        source = source_of(ingress, SourceKind.INGRESS, hosts, settings, ingress_class(ingress))
        entries.append(Entry(secret_name, source))
    completed = with_entry(ingress, added) if added is not None and own_entry(ingress) is None else None
    return IngressWants(True, tuple(entries), tuple(dict.fromkeys(notices)), completed, added)


def with_entry(ingress: Json, added: TlsEntry) -> Json:
    """A copy of the Ingress, of which metadata and spec will do, with just certjob's entry in spec.tls, and its mark.

    Only of one whose spec.tls is empty or just certjob's former entry: `IngressWants.added` says so.
    """
    metadata, spec = ingress["metadata"], ingress["spec"]
    tls = [{"hosts": list(added.hosts), "secretName": added.secret_name}]
    notes = annotations_of(ingress) | {v.TLS_ENTRY: added.marker}
    return ingress | {"metadata": metadata | {"annotations": notes}, "spec": spec | {"tls": tls}}


def ingress_class(ingress: Json) -> IngressClass:
    """The class as the user wrote it."""
    return IngressClass(
        field=(ingress.get("spec") or {}).get("ingressClassName"),
        annotation=annotations_of(ingress).get(v.INGRESS_CLASS),
    )


def rule_hosts(ingress: Json) -> list[str]:
    """Hosts of the rules, in their order, each once."""
    rules = (ingress.get("spec") or {}).get("rules") or []
    hosts = (hostnames.normalize(rule.get("host") or "") for rule in rules)
    return list(dict.fromkeys(host for host in hosts if host))


def _tls_entries(
    ingress: Json, issuer: Issuer, former: TlsEntry | None
) -> tuple[dict[str, list[str]], TlsEntry | None, list[Notice]]:
    """Hosts by Secret name (entries that name one Secret twice are joined), and certjob's own entry if any."""
    tls, own = _tls(ingress), own_entry(ingress)
    if not tls or own is not None:
        return _added(ingress, issuer, own or former)
    requests: dict[str, list[str]] = {}
    notices = []
    for number, entry in enumerate(tls):
        secret_name = entry.get("secretName") or ""
        hosts = [hostnames.normalize(h) for h in entry.get("hosts") or []] or rule_hosts(ingress)
        if not secret_name:
            notices.append(
                Notice(NoticeReason.NO_SECRET_NAME, f"spec.tls[{number}] has no secretName: no certificate for it")
            )
        else:
            known = requests.setdefault(secret_name, [])
            known.extend(host for host in dict.fromkeys(hosts) if host not in known)
    return requests, None, notices


def _added(
    ingress: Json, issuer: Issuer, own: TlsEntry | None
) -> tuple[dict[str, list[str]], TlsEntry | None, list[Notice]]:
    """All rule hosts that can be certified, under a name that is the same at every re-apply."""
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
    metadata = ingress.get("metadata", {})
    name = metadata.get("name") or ""
    secret_name = (
        own.secret_name if own else names.added_secret(name, metadata.get("generateName") or "", tuple(hosts))
    )
    return {secret_name: hosts}, TlsEntry(secret_name, tuple(hosts)), notices


def own_entry(ingress: Json) -> TlsEntry | None:
    """certjob's own entry, if spec.tls consists of just that one and nobody has edited it since."""
    tls = _tls(ingress)
    if len(tls) != 1:
        return None
    entry = TlsEntry(tls[0].get("secretName") or "", tuple(tls[0].get("hosts") or ()))
    return entry if annotations_of(ingress).get(v.TLS_ENTRY) == entry.marker else None


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


def _tls(ingress: Json) -> list[dict[str, Any]]:
    return (ingress.get("spec") or {}).get("tls") or []
