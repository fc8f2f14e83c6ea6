"""What the webhook says of an Ingress or Secret: a server-side dry run, which writes and orders nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from certs.hostnames import first_few
from issuer_job import vocabulary as v
from issuer_job.cli.out.verdicts import Judged, counted, fail, ok, unknown, warn
from issuer_job.cli.way.hearing import Hearing
from issuer_job.cluster.api import ApiError, Cluster, Json, NotFound
from issuer_job.cluster.refusals import RefusedBy, refusal
from issuer_job.demand import ingress, secret
from issuer_job.demand.common import Entry, Wants, annotations_of
from issuer_job.demand.ingress_spec import hosts_by_secret
from issuer_job.issuers.load import Issuers
from issuer_job.record.record import SourceKind

ABOUT, HOST_POLICY = "admission", "host policy"
WARNINGS = "docs/troubleshooting.md#warnings-at-kubectl-apply"
_OWN = "certjob: "

HARMLESS = tuple(
    re.compile(pattern)
    for pattern in (
        r"spec\.tls would get the Secret .*",
        r".*certificate for .* is being ordered from .*",
        r".*certificates? for .* would be ordered from .*",
        r"certificates for \d+ hosts are ordered in a moment, one after the other",
        r"\d+ of \d+ certificates are too many for now, the sweep orders them",
        r"data has .*: kept beside the certificate, but not before Kubernetes 1\.36",
        r"the certificate in data does not work .*",
    )
)
"""Warnings of certjob's that are no reason to act."""
ORDERED_ALL_THE_SAME = tuple(
    re.compile(pattern)
    for pattern in (
        r"Secret .*: an older Ingress decides issuer and key algorithm",
        r".*: unknown format .*",
        r"certjob\.io/renew(-before)?: .*",
        r"Secret .*: lives .*, and may end before it is renewed: .*",
        r"Secret .*: it is renewed at .*",
        r"Secret .*: an attempt is under way; .*",
        r"Secret .*: many orders in this namespace just now, .*",
        r"Secret .*: very busy, .*",
        r"Secret .*: the API server is slow, .*",
        r"Secret .*: certificate will come later .*",
        r"Secret .* failed \d+ times in an hour: again at .*",
        r".*: the certificate will come later",
        r"Secret .*: not all could be looked at .*",
        r"not all of it could be looked at in time: .*",
        r"Secret .*: held back until .*",
        r"Secret .*: failed \(.*",
        r"spec\.tls\[\d+\] has no secretName: .*",
    )
)
"""What costs no certificate, or only a wait."""
OF_HOSTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<host>\S+) belongs to another namespace.*: no certificate",
        r"(?P<host>\S+) is another namespace's too: .*",
        r"(?P<host>\S+) is not allowed in this namespace: no certificate",
    )
)
"""What is said of whose a host is."""


@dataclass(frozen=True)
class Tried:
    """What became of the dry run of `asker`, which is as it would be stored; as it is, if that was not tried.

    `warnings` are certjob's. `refused` are the words of who refused it, `unasked` is why nobody was asked.
    """

    kind: SourceKind
    asker: Json
    warnings: tuple[str, ...] = ()
    refused: str = ""
    unasked: str = ""

    @property
    def label(self) -> str:
        """ "Ingress shop/pay"."""
        metadata = self.asker["metadata"]
        return (
            f"{self.kind} {metadata.get('namespace', '')}/{metadata.get('name') or metadata.get('generateName', '')}"
        )


def try_stored(cluster: Cluster, hearing: Hearing, kind: SourceKind, stored: Json) -> Tried:
    """The object as it is, through the webhook once more. Raises KubeError without an answer."""
    metadata = stored["metadata"]
    return _tried(cluster, hearing, Tried(kind, stored), metadata["namespace"], metadata["name"], {})


def try_document(cluster: Cluster, hearing: Hearing, kind: SourceKind, document: Json, namespace: str) -> Tried:
    """What a file says, applied over what is there, if anything is. Raises KubeError without an answer."""
    document = document | {"metadata": (document.get("metadata") or {}) | {"namespace": namespace}}
    tried, name = Tried(kind, document), str(document["metadata"].get("name") or "")
    return _tried(cluster, hearing, tried, namespace, name, document)


def _tried(cluster: Cluster, hearing: Hearing, tried: Tried, namespace: str, name: str, body: Json) -> Tried:
    resource = tried.kind.resource
    hearing.take()
    try:
        try:
            if not name:
                raise NotFound(404, "NotFound", "")
            answer = cluster.patch(resource, namespace, name, body, manager="kubectl-certjob", dry_run=True)
        except NotFound:
            if not body:
                raise
            answer = cluster.create(resource, namespace, body, dry_run=True)
    except ApiError as problem:
        refused = refusal(problem)
        if refused is None or (refused.by is RefusedBy.OTHER and problem.status == 403):
            return replace(tried, unasked=f"you may not try it ({problem.message})"[:300])
        return replace(tried, refused=refused.brief.removeprefix(_OWN), warnings=_own(hearing.take()))
    answer["metadata"].setdefault("namespace", namespace)
    kept = answer if tried.kind is SourceKind.INGRESS else _with_labels(tried.asker, answer)
    return replace(tried, asker=kept, warnings=_own(hearing.take()))


def _with_labels(asker: Json, answer: Json) -> Json:
    """Of a Secret no more than metadata comes back."""
    return asker | {"metadata": asker["metadata"] | answer["metadata"]}


def _own(warnings: Iterable[str]) -> tuple[str, ...]:
    return tuple(said.removeprefix(_OWN) for said in warnings if said.startswith(_OWN))


@dataclass(frozen=True)
class ExpectedOrder:
    """One certificate that would be ordered; `issuer` is empty if only the operator knows which is the default."""

    secret_name: str
    hosts: tuple[str, ...]
    issuer: str
    ingress_class: str | None = None


def orders_of(tried: Tried, wants: Wants | None) -> tuple[ExpectedOrder, ...]:
    """What would be ordered: as certjob itself reads it where the issuers are known, else as the object says."""
    if wants is not None:
        return tuple(map(_order, wants.entries))
    issuer = annotations_of(tried.asker).get(v.ISSUER, "")
    if tried.kind is SourceKind.SECRET:
        hosts = tuple(sorted(secret.named_hosts(tried.asker)))
        return (ExpectedOrder(tried.asker["metadata"].get("name", ""), hosts, issuer),) if hosts else ()
    own_class = ingress.ingress_class(tried.asker).name
    found = hosts_by_secret(tried.asker).items()
    return tuple(ExpectedOrder(name, tuple(sorted(hosts)), issuer, own_class) for name, hosts in found if hosts)


def wants_of(tried: Tried, issuers: Issuers, *, namespace_enabled: bool) -> Wants:
    """As the webhook would decide it."""
    reader = ingress.wants if tried.kind is SourceKind.INGRESS else secret.wants
    return reader(tried.asker, issuers=issuers, namespace_enabled=namespace_enabled)


def is_asking(tried: Tried, *, namespace_enabled: bool | None) -> bool | None:
    """Whether it asks for certificates; None if that depends on its namespace's label, which cannot be read."""
    if tried.kind is SourceKind.SECRET:
        return secret.opts_in(tried.asker)
    asks = ingress.opts_in(tried.asker, namespace_enabled=bool(namespace_enabled))
    if asks or namespace_enabled is not None:
        return asks
    return None if ingress.opts_in(tried.asker, namespace_enabled=True) else False


def judge_admission(
    tried: Tried, orders: Sequence[ExpectedOrder], wants: Wants | None, *, asks: bool | None
) -> list[Judged]:
    """What admission comes to: the order, and everything that is in its way."""
    if tried.refused:
        return [fail(ABOUT, f"{tried.label} is refused: {tried.refused}", docs=WARNINGS)]
    if asks is False:
        how = f"label it {v.REQUEST}=true" if tried.kind is SourceKind.SECRET else f"annotate it {v.TLS_ACME}=true"
        return [fail(ABOUT, f"{tried.label} does not ask for a certificate: {how}", docs=WARNINGS)]
    said = tried.warnings or tuple(notice.message for notice in (wants.notices if wants is not None else ()))
    about = [warning for warning in said if not _is(HARMLESS, warning) and not _is(OF_HOSTS, warning)]
    late = [warn(ABOUT, warning, docs=WARNINGS) for warning in about if _is(ORDERED_ALL_THE_SAME, warning)]
    wrong = [fail(ABOUT, warning, docs=WARNINGS) for warning in about if not _is(ORDERED_ALL_THE_SAME, warning)]
    if not orders:
        return [*(wrong or [fail(ABOUT, "nothing in it can have a certificate", docs=WARNINGS)]), *late]
    return [_ordered(tried, orders, asks), *wrong, *late]


def _ordered(tried: Tried, orders: Sequence[ExpectedOrder], asks: bool | None) -> Judged:
    hosts = len({host for order in orders for host in order.hosts})
    issuers = sorted({order.issuer for order in orders})
    source = issuers[0] if issuers[0] else "the default issuer"
    secrets = first_few([order.secret_name for order in orders])
    says = f"certjob would order {counted(len(orders), 'certificate')} for {counted(hosts, 'host')} from {source} "
    says += f"into {secrets} "
    if tried.unasked:
        return unknown(ABOUT, f"{says}if it is asked: {tried.unasked}")
    if asks is None and not tried.warnings:
        return unknown(ABOUT, f"{says}if the namespace opts in, which you may not see")
    return ok(ABOUT, f"{says}(server-side dry run)")


def judge_host_policy(tried: Tried) -> list[Judged]:
    """Whose the hosts are, as far as the webhook told in the dry run."""
    told = [warning for warning in tried.warnings if _is(OF_HOSTS, warning)]
    return [fail(HOST_POLICY, warning, docs="docs/hosts.md") for warning in told]


def _order(entry: Entry) -> ExpectedOrder:
    source = entry.source
    return ExpectedOrder(entry.secret_name, source.hosts, source.settings.issuer, source.ingress_class.name)


def _is(patterns: Iterable[re.Pattern[str]], warning: str) -> bool:
    return any(pattern.fullmatch(warning) for pattern in patterns)
