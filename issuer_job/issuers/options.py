"""What the operator sets for the whole of certjob: ConfigMap `certjob-options`, all fields optional."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

from certs.duration import parse_duration
from certs.errors import CertError
from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Cluster, Json
from issuer_job.issuers.host_rules import HostRule
from issuer_job.issuers.solvers import DURATION
from issuer_job.issuers.yaml_document import DocumentError, read_yaml

MAX_DOCUMENT = 64 * 1024
SHORTEST_GRACE = timedelta(minutes=10)
LONGEST_GRACE = timedelta(days=6)
"""Records of what nobody wants are kept for a week: what lapses later would leave certificates that nobody knows."""


class OptionsError(ValueError):
    """The options are wrong; the message names the field."""


class Routes(StrEnum):
    """Who makes challenge routes."""

    ADMISSION = "admission"
    """The webhook, at once: the fastest."""
    JOB = "job"
    """The issue Job, once the Ingress was really admitted: for clusters whose own policies restrict hosts."""


class HostPolicy(StrEnum):
    """Who may have which host."""

    FIRST_CLAIM = "first-claim"
    """The namespace that got it first, until it gives it up or an operator transfers it."""
    ALLOW_LIST = "allow-list"
    """The namespaces that `allowedHosts` names for it."""
    OPEN = "open"
    """Everybody: for clusters whose tenants trust each other."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The numbers are bounds, which what is there already may exceed; `complete_tls` lets the sweep add the entry
    to an empty spec.tls that the webhook was not there to add (it needs `manifests/optional/complete-tls.yaml`).
    `allowed_hosts` are for the policy allow-list alone, and that policy needs them. `claim_grace` is for first-claim:
    how long a namespace may leave a host that it has unnamed before others can have it; `revoke_lost_hosts`: whether
    the former holder's certificates are revoked then. `cert_manager_annotations`: those on Ingresses are read as
    certjob's own (`manifests/optional/cert-manager-annotations` has the API server send these Ingresses).
    """

    routes: Routes = Routes.ADMISSION
    launches_per_sweep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    active_orders_per_namespace: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    certificates_per_namespace: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 500
    hosts_per_namespace: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2000
    complete_tls: bool = False
    host_policy: HostPolicy = HostPolicy.FIRST_CLAIM
    allowed_hosts: tuple[HostRule, ...] = ()
    claim_grace: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": DURATION})] = "24h"
    revoke_lost_hosts: bool = True
    cert_manager_annotations: bool = False

    def __post_init__(self) -> None:
        try:
            grace = parse_duration(self.claim_grace)
        except CertError as problem:
            raise ValueError(f"{problem} - at `$.claimGrace`") from None
        if not SHORTEST_GRACE <= grace <= LONGEST_GRACE:
            raise ValueError(f"`$.claimGrace` is from 10m to 6d, and not {self.claim_grace[:40]}")
        if bool(self.allowed_hosts) is not (self.host_policy is HostPolicy.ALLOW_LIST):
            raise ValueError("`$.allowedHosts` and `hostPolicy: allow-list` need each other: one is missing")

    @property
    def grace(self) -> timedelta:
        """`claim_grace` as a duration."""
        return parse_duration(self.claim_grace)


def read_options(cluster: Cluster) -> Options:
    """The operator's options, the defaults if there never were any. Raises OptionsError, KubeError.

    If they are gone, so is perhaps what kept hosts from tenants: that opens nothing, but is an error.
    """
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP)
    if found is None and cluster.find(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_IN_FORCE) is not None:
        raise OptionsError(
            f"ConfigMap {v.OPTIONS_CONFIG_MAP} is gone: make it again, its {v.OPTIONS_KEY} is in ConfigMap "
            f"{v.OPTIONS_IN_FORCE}; for the defaults make one with an empty {v.OPTIONS_KEY}"
        )
    return parse_options(found)


def remember_options(cluster: Cluster) -> None:
    """Keep what the options say now, if there are any: whoever misses them later knows that. What is refused
    is tried again by the next pass. Raises KubeError without an answer.
    """
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP)
    if found is None:
        return

    def kept(held: Json | None) -> Json:
        body = bodies.config_map(bodies.own_metadata(v.OPTIONS_IN_FORCE, {v.IN_FORCE: "true"}), found["data"])
        return held if held is not None and held.get("data") == found["data"] else body

    try:
        changes.change(cluster, CONFIGMAPS, v.NAMESPACE, v.OPTIONS_IN_FORCE, kept)
    except ApiError as problem:  # a full quota, somebody's policy: no reason to renew nothing
        log.warning("options-not-remembered", problem=str(problem))


def parse_options(config_map: Json | None) -> Options:
    """Read the ConfigMap, None if there is none. Raises OptionsError with the path of the field that is wrong."""
    if config_map is None:
        return Options()
    text = (config_map.get("data") or {}).get(v.OPTIONS_KEY)
    if text is None:
        raise OptionsError(f"ConfigMap {v.OPTIONS_CONFIG_MAP}: data has no key {v.OPTIONS_KEY}")
    if len(text) > MAX_DOCUMENT:
        raise OptionsError(f"ConfigMap {v.OPTIONS_CONFIG_MAP}: {v.OPTIONS_KEY} is larger than {MAX_DOCUMENT} bytes")
    try:
        document = read_yaml(text) if text.strip() else {}
        if isinstance(document, dict) and document.get("allowedHosts") == []:
            raise DocumentError("it is empty: leave it out, or list who may have what - at `$.allowedHosts`")
        return msgspec.convert(document, Options)
    except (msgspec.ValidationError, DocumentError) as problem:
        raise OptionsError(f"ConfigMap {v.OPTIONS_CONFIG_MAP}: {problem}") from None
