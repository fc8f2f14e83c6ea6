"""What a renamed `secretName` leaves to the new one: its certificate."""

from __future__ import annotations

from msgspec.structs import replace

from certs.trust import IssuerTrust
from issuer_job import names
from issuer_job.attempt.attempt import Attempt, Resolved
from issuer_job.issue import install
from issuer_job.issuers.types import directory_of
from issuer_job.record import transitions
from issuer_job.record.record import Issued
from issuer_job.record.store import live_record
from issuer_job.tenant_secrets.access import Content, Look, SecretRefused
from issuer_job.tenant_secrets.judgement import judge


def taken_over(attempt: Attempt, resolved: Resolved, seen: Look) -> Issued | None:
    """The certificate of the Secret that the Ingress named before, put into this one: it costs no order.

    Only certjob's own, as it was issued for what is wanted here, in the same namespace, which keeps its hosts: who
    holds the new Secret would get such a certificate in any case. Raises Later, Permanent, RecordError.
    """
    record, state = attempt.record, transitions.attempt_of(attempt.record)
    if not record.renamed_from or record.issued is not None or state.order_url or record.secret_is_its_owners:
        return None
    old = live_record(attempt.cluster, names.record(record.namespace, record.renamed_from))
    issued = old.issued if old is not None else None
    if old is None or issued is None or issued.directory != directory_of(resolved.issuer):
        return None
    if old.is_revoked or issued.forfeited or old.secret_is_its_owners or not issued.directory:
        return None
    try:
        held = attempt.looker(attempt.cluster, old)
    except SecretRefused:
        return None
    if not held.found or held.content is not Content.SHOWN:
        return None
    as_ours = replace(record, issued=issued)
    found = judge(as_ours, held, IssuerTrust(), now=attempt.clock(), interval=state.interval, renews=False)
    if found.issued is None or not found.same:
        return None
    chain, key = held.stored.tls_crt or b"", held.stored.tls_key or b""
    seen = install.preflight(attempt, seen)
    seen = install.put(attempt, seen, issuer=record.issuer, chain_pem=chain, key_pem=key, not_after=issued.not_after)
    if (seen.stored.tls_crt, seen.stored.tls_key) != (chain, key):
        return None
    attempt.step("taken-over", secret=record.renamed_from)
    wanted = record.intent.settings.formats
    return replace(found.issued, formats=wanted, secret_uid=seen.uid, secret_version=seen.resource_version)
