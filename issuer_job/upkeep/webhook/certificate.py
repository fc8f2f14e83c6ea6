"""The webhook's own CA and serving certificate."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import datetime

from certs import authority
from certs.chain import has_key, parse_chain
from certs.keys import CertifiedKey, key_from_pem
from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import SECRETS, Cluster, Json

DNS_NAMES = tuple(f"{v.WEBHOOK_SERVICE}.{v.NAMESPACE}.{suffix}" for suffix in ("svc", "svc.cluster.local"))


def ensure_authority(cluster: Cluster, *, now: datetime, unlike: bytes = b"") -> CertifiedKey:
    """The CA (one year, anew at two thirds), made if it is missing, due, or the one that shall not be any more.

    Raises KubeError.
    """
    return _ensure(
        cluster,
        v.WEBHOOK_CA_SECRET,
        good=lambda pair: (
            pair.cert_chain_pems != unlike and not authority.authority_due(pair.cert_chain_pems, now=now)
        ),
        make=lambda: authority.make_authority(now=now),
    )


def ensure_serving(cluster: Cluster, ca: CertifiedKey, *, now: datetime) -> None:
    """The leaf (30 days, anew at half its life), made if it is missing, due, or another CA's. Raises KubeError."""
    _ensure(
        cluster,
        v.WEBHOOK_TLS_SECRET,
        good=lambda pair: (
            not authority.leaf_due(pair.cert_chain_pems, now=now)
            and authority.is_signed_by(pair.cert_chain_pems, ca.cert_chain_pems)
        ),
        make=lambda: authority.make_leaf(ca, dns_names=DNS_NAMES, now=now),
    )


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
