"""The operator's command that gives a host to a namespace, whoever has it."""

from __future__ import annotations

from datetime import datetime

from certs import hostnames
from certs.hostnames import HostReason
from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster
from issuer_job.hosts import claims


def transfer_host(cluster: Cluster, host: str, namespace: str, *, now: datetime) -> v.ExitCode:
    """Check both, write the claim, log what was done. PERMANENT if there can be no such host or namespace.

    Raises KubeError.
    """
    host = hostnames.normalize(host)
    problem, made = _problem(host, namespace), claims.namespace_made(cluster, namespace)
    if problem is not None or made is None:
        problem = problem or "there is no such namespace"
        log.error("not-transferred", host=host, namespace=namespace, problem=problem)
        return v.ExitCode.PERMANENT
    former = claims.transfer(cluster, host, namespace, now=max(now, made))
    follows = "the next sweep orders what was refused"
    log.info("host-transferred", host=host, namespace=namespace, former=former, next=follows)
    return v.ExitCode.DONE


def _problem(host: str, namespace: str) -> str | None:
    wrong = hostnames.check_host(host, allow_wildcard=True, private_suffixes=())
    if wrong is not None and wrong.reason is not HostReason.SINGLE_LABEL:
        return wrong.message
    if namespace in v.EXCLUDED_NAMESPACES or "." in namespace or not names.is_dns_subdomain(namespace):
        return "no Ingress of this namespace gets a certificate"
    return None
