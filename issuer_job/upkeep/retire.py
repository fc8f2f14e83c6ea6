"""A certificate that nobody wants any more: give back what was made for it, keep its record as a tombstone."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from certs.placeholder import is_placeholder
from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Cluster, Conflict, KubeError
from issuer_job.demand.askers import is_enabled, list_askers
from issuer_job.http01 import routes
from issuer_job.record import transitions
from issuer_job.record.phases import ABSENCE_GRACE
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import delete_record, fresh, write_record
from issuer_job.tenant_secrets.access import Look, Looker, Refusal, SecretRefused, look_by_policy
from issuer_job.upkeep.leftovers import pending_names


def retire(
    cluster: Cluster, record: Record, *, now: datetime, looker: Looker = look_by_policy, aliases: bool = False
) -> bool:
    """Give back what belongs to a record that has been Orphaned or Unconfirmed for ten minutes; whether it was done.

    False if that is not so as the cluster stands now, or if somebody else is at it. A certificate that was issued
    stays in its Secret. `aliases`: see `Issuers`. Safe to repeat after any step. Raises KubeError, RecordError.
    """
    live = fresh(cluster, record)
    if live is None or live.phase not in {Phase.ORPHANED, Phase.UNCONFIRMED} or now - live.since < ABSENCE_GRACE:
        return False
    if _is_named(cluster, live, aliases):
        return False
    # The deletions come before the word: a pass that dies on the way leaves the record as it is, and the next one
    # starts again; a Retired record has nothing left. An Ingress that comes back just now finds its attempt without
    # placeholder, route or pending key, and its Job makes each of them anew.
    _delete_challenges(cluster, live)
    for host, ingress_class in live.routes:
        routes.release_route(cluster, live, host, ingress_class, or_older=True)
    try:
        secret = _delete_placeholder(cluster, live, looker)
    except Conflict:
        return False
    _delete_keys(cluster, live)
    if write_record(cluster, transitions.retired(live, now)) is None:
        return False
    log.info("retired", record=live.name, secret=secret)
    return True


def forget(cluster: Cluster, record: Record) -> bool:
    """Delete a Retired record, if it still is the one that was read; Kubernetes deletes what it owns.

    When that is due, a week later, is the caller's to know. Raises KubeError.
    """
    if record.phase is not Phase.RETIRED or not delete_record(cluster, record):
        return False
    log.info("forgotten", record=record.name)
    return True


def _is_named(cluster: Cluster, record: Record, aliases: bool) -> bool:
    """Asks the cluster: what a pass has listed may be minutes old."""
    enabled = is_enabled(cluster, record.namespace)
    return any(
        record.secret_name in asker.reader.named_secrets(asker.object, namespace_enabled=enabled)
        for asker in list_askers(cluster, record.namespace, aliases=aliases)
    )


def _delete_challenges(cluster: Cluster, record: Record) -> None:
    labels = f"{v.CHALLENGE}=true,{v.RECORD_UID}={record.uid}"
    for challenge in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=labels):
        name, uid = challenge["metadata"]["name"], challenge["metadata"]["uid"]
        if names.epoch_of(name) <= record.epoch:
            cluster.delete(CONFIGMAPS, v.NAMESPACE, name, uid=uid)


def _delete_placeholder(cluster: Cluster, record: Record, looker: Looker) -> str:
    """Delete the Secret if it still is what certjob put there at first; what became of it, for the log.

    Where its data is not shown it stays: its owner may have put a certificate there. One that asks, or asked, for its
    own certificate is its owner's in any case.
    """
    if record.secret_is_its_owners:
        return "its owner's"
    try:
        seen = looker(cluster, record)
    except SecretRefused as refused:
        if refused.reason is Refusal.NOT_IN_FORCE:
            raise KubeError(str(refused)) from None
        return "not certjob's"
    if not seen.found:
        return "gone"
    own = (seen.metadata.get("labels") or {}).get(v.REQUEST) == "true"
    if own or seen.state != v.SecretState.PLACEHOLDER or not _holds_placeholder(seen):
        return "kept"
    cluster.delete(
        SECRETS, record.namespace, record.secret_name, uid=seen.uid, resource_version=seen.resource_version
    )
    return "deleted"


def _holds_placeholder(seen: Look) -> bool:
    """The label alone may be wrong: an owner who puts a certificate of his own there need not change it."""
    try:
        certificates = x509.load_pem_x509_certificates(seen.stored.tls_crt or b"")
    except ValueError:
        return False
    return is_placeholder(certificates[0])


def _delete_keys(cluster: Cluster, record: Record) -> None:
    """By name: certjob cannot list Secrets."""
    epochs = {entry.epoch for entry in record.history} | {record.epoch}
    keys = {name for epoch in epochs if epoch for name in pending_names(record, epoch)}
    for name in sorted(keys | {record.pending_name}):
        cluster.delete(SECRETS, v.NAMESPACE, name)
