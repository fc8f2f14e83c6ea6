"""Once for each installation: the webhook's certificate, and the account keys of the issuers. No CA is contacted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.account.keys import account_secret
from issuer_job.acme_client import new_account_key
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, JOBS, SECRETS, Cluster, KubeError
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.polling import utc_now
from issuer_job.upkeep.webhook import rotation


def bootstrap(cluster: Cluster, *, opening: Callable[[], None] = lambda: None) -> None:
    """Make what is missing; run again, it changes nothing. `opening`: see `rotation.rotate`. Raises KubeError."""
    behind = rotation.rotate(cluster, now=utc_now(), opening=opening)
    issuers = Issuers.from_config_maps(cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true"))
    for name, problem in issuers.broken.items():
        log.error("issuer", issuer=name, problem=problem)
    make_account_keys(cluster, issuers.valid)
    if behind:  # an upgrade: the new pods are just coming
        rotation.rotate(cluster, now=utc_now(), patience=rotation.INSTALL_PATIENCE, opening=opening)
    _clear_earlier_jobs(cluster)


def _clear_earlier_jobs(cluster: Cluster) -> None:
    """Delete bootstrap Jobs of other versions that are finished, and what has failed: each is named for what it is.

    What is complete and of this version stays: somebody may wait for all of the version, and finds none of them gone.
    """
    try:
        for job in cluster.items(JOBS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=bootstrap"):
            conditions = (job.get("status") or {}).get("conditions") or []
            ended = {one["type"] for one in conditions if one["status"] == "True"}
            is_this = job["metadata"]["labels"].get(v.APP_VERSION) == v.VERSION
            if "Failed" in ended or ("Complete" in ended and not is_this):
                cluster.delete(JOBS, v.NAMESPACE, job["metadata"]["name"], uid=job["metadata"]["uid"])
                log.info("bootstrap-cleared", job=job["metadata"]["name"])
    except KubeError as problem:  # they only take room
        log.warning("bootstrap-cleared", problem=str(problem))


def make_account_keys(cluster: Cluster, issuers: Mapping[str, Issuer]) -> None:
    """A key for every issuer that has none: Jobs then find it mounted from their first pod on.

    Not for one that takes over a key: that is in its credentials, which only its Jobs can read.
    """
    for name, issuer in issuers.items():
        if not type_of(issuer).has_account or issuer.existing_account_key:
            continue
        key = new_account_key(issuer.account_key_algorithm.value)
        secret = account_secret(name, directory_of(issuer), 1, key)
        if changes.swap(cluster, SECRETS, v.NAMESPACE, None, secret) is not None:
            log.info("account-key", issuer=name, secret=secret["metadata"]["name"])
