"""Certificate, configuration and pods kept together: in each pass, once at install, and when the CA was stolen."""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Cluster, Json
from issuer_job.upkeep.webhook import certificate, configuration, pods

Lacking = Callable[[Cluster, bytes, str], list[str]]
"""See `pods.lacking`."""

INSTALL_PATIENCE = 60.0
STOLEN_PATIENCE = 150.0
"""Seconds. The kubelet gives a pod its new certificate within a minute and a half."""
PAUSE = 1.0


def rotate(
    cluster: Cluster,
    *,
    now: datetime,
    stolen: bytes | None = None,
    patience: float = 0.0,
    lacking: Lacking = pods.lacking,
    opening: Callable[[], None] = lambda: None,
) -> list[str]:
    """Make what is missing or due; safe at any time and twice at once. The pods that do not know yet what is new.

    `opening` is called before the webhook is sent anything for the first time, with its certificate in place.

    The new CA is trusted before anything signed by it is served. The old one is, and 0.1.0's configuration works,
    until every pod shows a certificate of the new CA and knows the paths; that is waited for `patience` seconds, and
    then left to the next pass. A CA that was `stolen` (PEM, empty if it is gone) is replaced, and not trusted after
    that time. The clock is the API server's, who verifies; `now` counts if it does not say. Raises KubeError.
    """
    now = cluster.server_time() or now
    ca = certificate.ensure_authority(cluster, now=now, unlike=stolen or b"")
    former = configuration.former(cluster, ca.cert_chain_pems, now=now)
    works = configuration.sends(former)
    held = configuration.fill_in(cluster, ca.cert_chain_pems, now=now)
    certificate.ensure_serving(cluster, ca, now=now)
    if not works:
        held = configuration.send(cluster, held, opening=opening)
    if not works and not configuration.trusts_others(held, ca.cert_chain_pems):
        return []
    behind, until = _behind(cluster, held, ca.cert_chain_pems, lacking), time.monotonic() + patience
    while behind and time.monotonic() < until:
        time.sleep(PAUSE)
        behind = _behind(cluster, held, ca.cert_chain_pems, lacking)
    if behind:
        log.info("webhook-pods-behind", pods=behind)
    if not behind or stolen is not None:
        held = configuration.fill_in(cluster, ca.cert_chain_pems, now=now, alone=True)
        configuration.send(cluster, held, opening=opening)
        if former is not None and works:
            configuration.retire_former(cluster, former)
    return behind


def replace_authority(
    cluster: Cluster, *, now: datetime, patience: float, lacking: Lacking = pods.lacking
) -> v.ExitCode:
    """The operator's command for a CA whose key somebody else may have: another CA, serving certificate and paths.

    LATER if pods did not show the new certificate within `patience` seconds: the webhook is not reached there until
    they do. Raises KubeError.
    """
    held = cluster.find(SECRETS, v.NAMESPACE, v.WEBHOOK_CA_SECRET) or {}
    stolen = b64decode((held.get("data") or {}).get("tls.crt") or "")
    behind = rotate(cluster, now=now, stolen=stolen, patience=patience, lacking=lacking)
    do = f"kubectl rollout restart -n {v.NAMESPACE} deployment/{v.WEBHOOK_SERVICE}" if behind else "nothing"
    log.info("authority-replaced", behind=behind, do=do)
    return v.ExitCode.LATER if behind else v.ExitCode.DONE


def _behind(cluster: Cluster, held: Json, ca_pem: bytes, lacking: Lacking) -> list[str]:
    return lacking(cluster, ca_pem, configuration.a_path(held))
