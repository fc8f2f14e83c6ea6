"""The webhook's own CA and serving certificate, and the caBundle that makes the API server trust them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime

from certs import authority
from certs.chain import has_key, parse_chain
from certs.errors import CertError
from certs.keys import CertifiedKey, key_from_pem
from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import MUTATING_WEBHOOKS, SECRETS, Cluster, Json, KubeError

DNS_NAMES = tuple(f"{v.WEBHOOK_SERVICE}.{v.NAMESPACE}.{suffix}" for suffix in ("svc", "svc.cluster.local"))


def rotate(cluster: Cluster, *, now: datetime) -> None:
    """Make what is missing or due: CA (one year), leaf (30 days, anew at half its life), caBundle.

    Safe to run at any time and twice at once. Raises KubeError.
    """
    ca = _ensure(
        cluster,
        v.WEBHOOK_CA_SECRET,
        good=lambda pair: not authority.authority_due(pair.cert_chain_pems, now=now),
        make=lambda: authority.make_authority(now=now),
    )
    trust(cluster, ca.cert_chain_pems, now=now)  # before anything signed by it is served
    _ensure(
        cluster,
        v.WEBHOOK_TLS_SECRET,
        good=lambda pair: (
            not authority.leaf_due(pair.cert_chain_pems, now=now)
            and authority.is_signed_by(pair.cert_chain_pems, ca.cert_chain_pems)
        ),
        make=lambda: authority.make_leaf(ca, dns_names=DNS_NAMES, now=now),
    )


def trust(cluster: Cluster, ca_pem: bytes, *, now: datetime) -> None:
    """Put the CA into every caBundle of the webhook configuration, beside those that are there and still valid."""

    def trusting(configuration: Json | None) -> Json:
        if configuration is None:
            raise KubeError("the webhook configuration was deleted")
        for client in (webhook["clientConfig"] for webhook in configuration["webhooks"]):
            client["caBundle"] = b64encode(_bundle(ca_pem, client.get("caBundle", ""), now)).decode()
        return configuration

    name, what = v.WEBHOOK_CONFIGURATION, "the webhook configuration"
    stored = cluster.get(MUTATING_WEBHOOKS, None, name)
    if changes.change(cluster, MUTATING_WEBHOOKS, None, name, trusting, held=stored, what=what).written:
        log.info("ca-bundle", configuration=v.WEBHOOK_CONFIGURATION)


def _bundle(ca_pem: bytes, old: str, now: datetime) -> bytes:
    try:
        return authority.bundle(ca_pem, b64decode(old), now=now)
    except (CertError, ValueError):
        return authority.bundle(ca_pem, now=now)  # somebody put something unreadable there


def _ensure(
    cluster: Cluster, name: str, *, good: Callable[[CertifiedKey], bool], make: Callable[[], CertifiedKey]
) -> CertifiedKey:
    """The pair in the Secret if it is good, else a new one; who loses a race takes the winner's."""
    pair: CertifiedKey

    def ensured(stored: Json | None) -> Json:
        nonlocal pair
        former = None if stored is None else _pair(stored)
        if stored is not None and former is not None and good(former):
            pair = former
            return stored
        pair = make()
        data = {"tls.crt": pair.cert_chain_pems, "tls.key": pair.key_pem}
        return bodies.secret(bodies.own_metadata(name, {}), v.TLS_SECRET_TYPE, data)

    if changes.change(cluster, SECRETS, v.NAMESPACE, name, ensured).written:
        log.info("rotated", secret=name)
    return pair


def _pair(secret: Json) -> CertifiedKey | None:
    data = secret.get("data") or {}
    try:
        pair = CertifiedKey(key_pem=b64decode(data["tls.key"]), cert_chain_pems=b64decode(data["tls.crt"]))
        holds = has_key(parse_chain(pair.cert_chain_pems)[0], key_from_pem(pair.key_pem))
    except (KeyError, ValueError):
        return None
    return pair if holds else None
