"""cert-manager's Issuers and ClusterIssuers, as far as certjob has words for what they say."""

from __future__ import annotations

from typing import Any

import msgspec

from issuer_job.cluster.api import Json
from issuer_job.migrate.others.cert_manager import ForeignCondition, ForeignPart, IssuerKey


class SecretKey(ForeignPart, frozen=True):
    """A key of a Secret in the issuer's namespace; of ClusterIssuers in cert-manager's own."""

    name: str = ""
    key: str = ""


class ForeignSelector(ForeignPart, frozen=True):
    """Which hosts a solver is for."""

    match_labels: dict[str, str] = {}
    dns_names: tuple[str, ...] = ()
    dns_zones: tuple[str, ...] = ()


class _Meta(ForeignPart, frozen=True):
    annotations: dict[str, str] = {}


class _IngressTemplate(ForeignPart, frozen=True):
    metadata: _Meta = _Meta()


class _IngressSolver(ForeignPart, frozen=True):
    ingress_class_name: str = ""
    class_: str = msgspec.field(name="class", default="")
    name: str = ""
    ingress_template: _IngressTemplate = _IngressTemplate()


class ForeignHttp01(ForeignPart, frozen=True):
    """HTTP-01 by an Ingress, or a Gateway's route."""

    ingress: _IngressSolver | None = None
    gateway_http_route: Any = msgspec.field(name="gatewayHTTPRoute", default=None)


class ForeignSolver(ForeignPart, frozen=True):
    """One of the solvers. `dns01` is read by `translate.dns`."""

    selector: ForeignSelector = ForeignSelector()
    http01: ForeignHttp01 | None = None
    dns01: dict[str, Any] | None = None


class _Eab(ForeignPart, frozen=True):
    key_id: str = msgspec.field(name="keyID", default="")
    key_secret_ref: SecretKey = SecretKey()


class ForeignAcme(ForeignPart, frozen=True):
    """An ACME account, and how it proves hosts. `ca_bundle` is PEM in base64."""

    server: str = ""
    email: str = ""
    preferred_chain: str = ""
    profile: str = ""
    ca_bundle: str = msgspec.field(name="caBundle", default="")
    skip_tls_verify: bool = msgspec.field(name="skipTLSVerify", default=False)
    external_account_binding: _Eab | None = None
    private_key_secret_ref: SecretKey = SecretKey()
    enable_duration_feature: bool = False
    solvers: tuple[ForeignSolver, ...] = ()


class _Authority(ForeignPart, frozen=True):
    secret_name: str = ""
    crl_distribution_points: Any = msgspec.field(name="crlDistributionPoints", default=None)
    ocsp_servers: Any = msgspec.field(name="ocspServers", default=None)


class _Spec(ForeignPart, frozen=True):
    acme: ForeignAcme | None = None
    ca: _Authority | None = None
    self_signed: Any = None
    vault: Any = None
    venafi: Any = None


class _Status(ForeignPart, frozen=True):
    conditions: tuple[ForeignCondition, ...] = ()


class _Named(ForeignPart, frozen=True):
    name: str = ""
    namespace: str = ""


class ForeignIssuer(ForeignPart, frozen=True):
    """An Issuer; of a ClusterIssuer the namespace is empty."""

    metadata: _Named = _Named()
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def key(self) -> IssuerKey:
        """By which Certificates find it."""
        return self.metadata.namespace, self.metadata.name

    def __str__(self) -> str:
        namespace, name = self.key
        return f"Issuer {namespace}/{name}" if namespace else f"ClusterIssuer {name}"

    @property
    def is_ready(self) -> bool:
        """Whether cert-manager says that it can issue."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions)


def read_issuer(found: Json) -> ForeignIssuer | None:
    """One as the API server has it; None if it is no such object, which its schema keeps from being."""
    try:
        return msgspec.convert(found, ForeignIssuer, strict=False)
    except msgspec.ValidationError:
        return None
