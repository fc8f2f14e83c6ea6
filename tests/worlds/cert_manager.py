"""cert-manager, as far as it matters to a move: which Certificates it makes for Ingresses, and when it orders.

Written after its documentation and rules as of 1.21: the chain of reasons to issue anew, as it is where no
CertificateRequest of the Certificate's is left, and the controller that makes Certificates for annotated Ingresses.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.chain import has_key
from certs.errors import CertError
from certs.keys import key_from_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from issuer_job.migrate.plans.steps import DEPLOYMENTS
from tests.fakes.api import FakeApi

CM = "cert-manager.io/"
Key = tuple[str, str]


def reason_to_issue(certificate: Json, secret: Json | None, *, now: datetime) -> str:
    """The first reason to issue the certificate anew, empty if there is none. The Secret's data is decoded."""
    spec = certificate["spec"]
    if secret is None:
        return "DoesNotExist"
    data = secret.get("data") or {}
    if not data.get("tls.key") or not data.get("tls.crt"):
        return "MissingData"
    try:
        leaf = x509.load_pem_x509_certificates(data["tls.crt"])[0]
        key = key_from_pem(data["tls.key"])
        if not has_key(leaf, key):
            return "InvalidKeyPair"
    except (ValueError, CertError):
        return "InvalidKeyPair"
    notes = secret["metadata"].get("annotations") or {}
    ref = spec["issuerRef"]
    said = {name: notes.get(f"{CM}issuer-{name}") for name in ("name", "kind", "group")}
    if any(value is not None for value in said.values()) and said["name"] != ref["name"]:
        return "IncorrectIssuer"
    # Also where nothing is said: an Issuer of cert-manager's is what is meant then.
    if (said["kind"] or "Issuer") != (ref.get("kind") or "Issuer"):
        return "IncorrectIssuer"
    if (said["group"] or "cert-manager.io") != (ref.get("group") or "cert-manager.io"):
        return "IncorrectIssuer"
    if notes.get(f"{CM}certificate-name", certificate["metadata"]["name"]) != certificate["metadata"]["name"]:
        return "IncorrectCertificate"
    if not _key_fits(key, spec.get("privateKey") or {}):
        return "SecretMismatch: key"
    if _names(leaf) != {*spec.get("dnsNames", ()), *filter(None, [spec.get("commonName")])}:
        return "SecretMismatch: names"
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    asked = _hours(spec.get("renewBefore"))
    before = asked if asked is not None and asked < end - start else (end - start) / 3
    return "Renewing" if now >= end - before else ""


def _key_fits(key: Any, wanted: Json) -> bool:
    size = wanted.get("size") or 0
    if wanted.get("algorithm", "RSA") == "ECDSA":
        return isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == (size or 256)
    return isinstance(key, rsa.RSAPrivateKey) and key.key_size == (size or 2048)


def _names(leaf: x509.Certificate) -> set[str]:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    common = [str(one.value) for one in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return {*names.get_values_for_type(x509.DNSName), *common}


def _hours(text: str | None) -> timedelta | None:
    return timedelta(hours=int(text.partition("h")[0])) if text else None


def made_for(ingress: Json, *, default: Mapping[str, str] | None = None) -> Iterator[Json]:
    """The Certificates that it makes for an Ingress; `default` is its default issuer, if it has one."""
    notes, metadata = ingress["metadata"].get("annotations") or {}, ingress["metadata"]
    named = [(kind, notes[key]) for key, kind in _KINDS.items() if key in notes]
    auto = default is not None and notes.get(v.TLS_ACME, "").lower() == "true"
    if not named and not auto:
        return
    ref = {"kind": named[0][0], "name": named[0][1], "group": "cert-manager.io"} if named else dict(default or {})
    key = {
        name: convert(notes[f"{CM}private-key-{name}"])
        for name, convert in (("algorithm", str), ("size", int))
        if f"{CM}private-key-{name}" in notes
    }
    owner = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": metadata["name"], "uid": "u"}
    for entry in ingress["spec"].get("tls") or ():
        if not entry.get("hosts") or not entry.get("secretName"):
            continue
        spec: Json = {"secretName": entry["secretName"], "dnsNames": list(entry["hosts"]), "issuerRef": ref}
        spec |= {"privateKey": key} if key else {}
        if before := notes.get(f"{CM}renew-before"):
            spec["renewBefore"] = before
        yield {
            "metadata": {
                "name": entry["secretName"],
                "namespace": metadata["namespace"],
                "ownerReferences": [owner | {"controller": True}],
            },
            "spec": spec,
        }


_KINDS = {f"{CM}issuer": "Issuer", f"{CM}cluster-issuer": "ClusterIssuer"}


@dataclass
class FakeCertManager:
    """Acts on a cluster each time it is told to, if its Deployment has replicas. `orders` are what it would order."""

    api: FakeApi
    namespace: str = "cert-manager"
    orders: list[tuple[Key, str]] = field(default_factory=list)
    default: Mapping[str, str] | None = None

    def install(self, *args: str, replicas: int = 1) -> None:
        """Its Deployment."""
        image = "quay.io/jetstack/cert-manager-controller:v1.21.1"
        pod = {"containers": [{"name": "controller", "image": image, "args": list(args)}]}
        metadata = {"name": "cert-manager", "namespace": self.namespace}
        spec = {"replicas": replicas, "template": {"spec": pod}}
        self.api.add(DEPLOYMENTS, self.namespace, {"metadata": metadata, "spec": spec})

    @property
    def runs(self) -> bool:
        """Whether it does anything."""
        found = self.api.stored(DEPLOYMENTS, self.namespace, "cert-manager")
        return found is not None and found["spec"]["replicas"] > 0

    def sync(self, *, now: datetime) -> None:
        """What it does by itself: Certificates for Ingresses, and orders for those that have a reason."""
        if not self.runs:
            return
        for ingress in self.api.all(INGRESSES):
            for made in made_for(ingress, default=self.default):
                namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
                if self.api.stored(CERTIFICATES, namespace, name) is None:
                    self.api.add(CERTIFICATES, namespace, made)
        for certificate in self.api.all(CERTIFICATES):
            namespace, name = certificate["metadata"]["namespace"], certificate["spec"]["secretName"]
            secret = self.api.stored(SECRETS, namespace, name)
            reason = reason_to_issue(certificate, decoded(secret), now=now)
            if reason:
                self.orders.append(((namespace, name), reason))
            elif secret is not None:
                self._is_content(certificate, secret)

    def _is_content(self, certificate: Json, secret: Json) -> None:
        """It says so, and puts its marks on the Secret."""
        ref, metadata = certificate["spec"]["issuerRef"], secret["metadata"]
        marks = {f"{CM}certificate-name": certificate["metadata"]["name"], f"{CM}issuer-name": ref["name"]}
        marks |= {f"{CM}issuer-kind": ref.get("kind") or "Issuer", f"{CM}issuer-group": ref.get("group", "")}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **marks}
        metadata["labels"] = {**(metadata.get("labels") or {}), "controller.cert-manager.io/fao": "true"}
        self.api.add(SECRETS, metadata["namespace"], secret)
        status = certificate.get("status") or {}
        if not status.get("conditions"):
            certificate["status"] = status | {"conditions": [{"type": "Ready", "status": "True"}]}
            self.api.add(CERTIFICATES, metadata["namespace"], certificate)


def decoded(secret: Json | None) -> Json | None:
    """A Secret as it is stored, with its data in bytes."""
    if secret is None:
        return None
    return secret | {"data": {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}}
