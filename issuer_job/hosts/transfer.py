"""The operator's command that gives a host to a namespace, whoever has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from certs import hostnames
from certs.hostnames import HostReason
from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster
from issuer_job.hosts import claims


@dataclass(frozen=True)
class Transfer:
    """What became of it. `former` is whose the host was, None if it was nobody's; `problem` is why it stays there."""

    host: str
    namespace: str
    former: str | None = None
    problem: str = ""


def transfer(cluster: Cluster, host: str, namespace: str, *, now: datetime) -> Transfer:
    """Check both, and write the claim. Raises KubeError."""
    host = hostnames.normalize(host)
    problem, made = _checked(cluster, host, namespace)
    if problem:
        return Transfer(host, namespace, problem=problem)
    return Transfer(host, namespace, claims.transfer(cluster, host, namespace, now=max(now, made)))


def expected(cluster: Cluster, host: str, namespace: str, *, now: datetime) -> Transfer:
    """What would become of it; nothing is written. Raises KubeError."""
    host = hostnames.normalize(host)
    problem, _ = _checked(cluster, host, namespace)
    held = None if problem else claims.claim_of(cluster, host)
    return Transfer(host, namespace, None if held is None else held.namespace, problem)


def _checked(cluster: Cluster, host: str, namespace: str) -> tuple[str, datetime]:
    """Why there can be no such host or namespace, empty if there can; and since when there is."""
    problem = _problem(host, namespace)
    made = None if problem else claims.namespace_made(cluster, namespace)
    if made is None:
        return problem or "there is no such namespace", datetime.min.replace(tzinfo=UTC)
    return "", made


def transfer_host(cluster: Cluster, host: str, namespace: str, *, now: datetime) -> v.ExitCode:
    """The same, logged. PERMANENT if there can be no such host or namespace. Raises KubeError."""
    done = transfer(cluster, host, namespace, now=now)
    if done.problem:
        log.error("not-transferred", host=done.host, namespace=namespace, problem=done.problem)
        return v.ExitCode.PERMANENT
    follows = "the next sweep orders what was refused"
    log.info("host-transferred", host=done.host, namespace=namespace, former=done.former, next=follows)
    return v.ExitCode.DONE


def _problem(host: str, namespace: str) -> str | None:
    wrong = hostnames.check_host(host, allow_wildcard=True, private_suffixes=())
    if wrong is not None and wrong.reason is not HostReason.SINGLE_LABEL:
        return wrong.message
    if v.is_excluded(namespace) or "." in namespace or not names.is_dns_subdomain(namespace):
        return "no Ingress of this namespace gets a certificate"
    return None
