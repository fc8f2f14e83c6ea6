"""certjob's words in cert-manager's: keys, and issuers. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from issuer_job.cluster.api import Json
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import DEFAULT_SOLVER, Solver
from issuer_job.issuers.types import ACME, CA, SELF_SIGNED

_MADE = {"RSA": frozenset({2048, 3072, 4096, 8192}), "ECDSA": frozenset({256, 384, 521})}


def key_words(leaf: x509.Certificate) -> tuple[str, int] | None:
    """Algorithm and size of the certificate's key, as cert-manager's `privateKey` has them; None if it has none such.

    What it would make by itself is RSA of 2048 bits, and what is there and of another kind is made anew.
    """
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        found = "RSA", key.key_size
    elif isinstance(key, ec.EllipticCurvePublicKey):
        found = "ECDSA", key.curve.key_size
    else:
        return None
    return found if found[1] in _MADE[found[0]] else None


def cluster_issuer(name: str, issuer: Issuer) -> tuple[Json, tuple[str, ...]]:
    """A ClusterIssuer for certjob's issuer, and what is left to be said in it."""
    notes = list(_unsaid(issuer))
    if issuer.type == SELF_SIGNED.name:
        spec: Json = {"selfSigned": {}}
    elif issuer.type == CA.name:
        spec = {"ca": {"secretName": f"{name}-ca"}}
        notes.append(f"the CA's pair in Secret {name}-ca of cert-manager's namespace")
    else:
        spec = {"acme": _acme(name, issuer, notes)}
    body = {"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": name}, "spec": spec}
    return body, tuple(notes)


def _acme(name: str, issuer: Issuer, notes: list[str]) -> Json:
    acme: Json = {"server": issuer.server, "privateKeySecretRef": {"name": f"{name}-account-key"}}
    said = {"email": issuer.email, "preferredChain": issuer.preferred_chain, "profile": issuer.profile}
    acme |= {key: text for key, text in said.items() if text}
    if issuer.ca_bundle:
        acme["caBundle"] = b64encode(issuer.ca_bundle.encode()).decode()
    if issuer.external_account is not None:
        ref = {"name": f"{name}-eab", "key": "eab-hmac-key"}
        acme["externalAccountBinding"] = {"keyID": issuer.external_account.key_id, "keySecretRef": ref}
        notes.append(f"the HMAC key in Secret {name}-eab of cert-manager's namespace")
    acme["solvers"] = [_solver(solver) for solver in issuer.solvers or (DEFAULT_SOLVER,) if solver.dns01 is None]
    return acme


def _solver(solver: Solver) -> Json:
    http01 = solver.http01.ingress_class if solver.http01 is not None else ""
    words: Json = {"http01": {"ingress": {"ingressClassName": http01} if http01 else {}}}
    selector = {"dnsNames": list(solver.selector.dns_names), "dnsZones": list(solver.selector.dns_zones)}
    chosen = {key: names for key, names in selector.items() if names}
    return ({"selector": chosen} if chosen else {}) | words


def _unsaid(issuer: Issuer) -> Iterator[str]:
    if issuer.type == ACME.name and any(solver.dns01 is not None for solver in issuer.solvers):
        yield "its solvers over DNS, with credentials"
    if issuer.allowed_namespaces or issuer.allowed_hosts or issuer.ingress_classes:
        yield "who may use it, which a ClusterIssuer cannot say"
    if issuer.fallback is not None:
        yield "its fallback, which cert-manager has not"
