"""To cert-manager: what Ingresses, Secrets and Certificates say to it. Pure."""

from __future__ import annotations

from certs.duration import parse_duration
from certs.errors import CertError
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.aliases import cert_manager as words
from issuer_job.demand.common import written_annotations
from issuer_job.demand.secret import named_hosts
from issuer_job.migrate.leaving.cases import COMBINED, LeaveCase
from issuer_job.migrate.others.cert_manager import ISSUER_NAME, IssuerRef

ON_INGRESSES = (
    v.ISSUER,
    v.KEY_ALGORITHM,
    v.PROFILE,
    v.PREFERRED_CHAIN,
    v.RENEW_BEFORE,
    v.RETRY,
    v.RENEW,
    v.FORMATS,
    v.TLS_ENTRY,
)
"""certjob's annotations there."""
ON_SECRETS = (v.NOT_AFTER, v.HOSTS, v.ISSUER)
"""certjob's annotations on Secrets that it makes."""


def silent(*, enabled: bool) -> dict[str, str | None]:
    """An Ingress says nothing to certjob; where its namespace says yes for all, no."""
    return dict.fromkeys(ON_INGRESSES) | {v.TLS_ACME: "false" if enabled else None}


def settings_of(case: LeaveCase) -> dict[str, str | None]:
    """What the key is, as cert-manager would take another one by itself, and when to renew."""
    algorithm, size = case.key_words
    said: dict[str, str | None] = {words.KEY_ALGORITHM: algorithm, words.KEY_SIZE: str(size)} if size else {}
    before = hours(case.settings.get(v.RENEW_BEFORE, ""))
    return said | ({words.RENEW_BEFORE: before} if before else {})


def asking(target: IssuerRef) -> dict[str, str | None]:
    """The annotation that has cert-manager make a Certificate."""
    return {words.CLUSTER_ISSUER if target.kind == "ClusterIssuer" else words.ISSUER: target.name}


def noted(target: IssuerRef, *, keeps_words: bool) -> dict[str, str | None]:
    """A Secret's annotations as cert-manager would have them: what it finds unsaid it takes for an Issuer's."""
    ours: dict[str, str | None] = {} if keeps_words else dict.fromkeys(ON_SECRETS)
    theirs = {words.ISSUER_KIND: target.kind, words.ISSUER_GROUP: words.GROUP, ISSUER_NAME: target.name}
    return ours | theirs | {v.CERT_MANAGER: None}


def certificate_for(secret: Json, target: IssuerRef, key_words: tuple[str, int]) -> Json:
    """The Certificate in the place of a Secret that asked certjob by itself."""
    metadata, notes = secret["metadata"], written_annotations(secret)
    spec: Json = {
        "secretName": metadata["name"],
        "dnsNames": sorted(named_hosts(secret)),
        "issuerRef": {"name": target.name, "kind": target.kind, "group": words.GROUP},
    }
    if key_words[1]:
        spec["privateKey"] = {"algorithm": key_words[0], "size": key_words[1]}
    if before := hours(notes.get(v.RENEW_BEFORE, "")):
        spec["renewBefore"] = before
    if COMBINED in notes.get(v.FORMATS, ""):
        spec["additionalOutputFormats"] = [{"type": "CombinedPEM"}]
    about = {"name": metadata["name"], "namespace": metadata["namespace"]}
    return {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": about, "spec": spec}


def hours(duration: str) -> str:
    """A length of time as Go reads it, which has no days; empty if it is none."""
    try:
        return f"{max(1, int(parse_duration(duration).total_seconds() // 3600))}h"
    except CertError:
        return ""
