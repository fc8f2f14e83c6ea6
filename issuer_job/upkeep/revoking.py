"""What a pass does about revocations: asks for those of lost hosts, and sees that each comes to an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Cluster
from issuer_job.hosts.at_sweep import Holders
from issuer_job.hosts.claims import claim_of
from issuer_job.hosts.precedence import CLOCKS
from issuer_job.issuers.load import Issuers
from issuer_job.record import transitions
from issuer_job.record.phases import GONE
from issuer_job.record.record import Issued, Record, RecordError
from issuer_job.record.store import change_record
from issuer_job.upkeep.revocations import (
    HeldRevocation,
    Outcome,
    Reason,
    Revocation,
    ask_for,
    find_revocation,
    issued_with,
    issuer_for,
    list_revocations,
    rewrite,
    tell,
)

GIVE_UP_AFTER = timedelta(days=7)
KEPT_FOR = timedelta(days=1)
"""One that has ended, for whoever asked."""
MOST_ASKED = 50
"""That one pass asks for: each is a write."""


@dataclass(frozen=True)
class Attending:
    """What one pass does about revocations. `holders` know who has which host; `revokes`: lost ones are a reason."""

    cluster: Cluster
    records: Mapping[tuple[str, str], Record]
    issuers: Issuers
    holders: Holders
    revokes: bool
    now: datetime

    def attend(self) -> tuple[set[str], Counter[str]]:
        """Ask for what lost hosts ask for, and see that what was asked for comes to its end: the issuers whose Jobs
        have something to revoke, and counts. Raises KubeError.
        """
        counts, due = Counter[str](), set[str]()
        self._mend_regained(counts)
        held = {one.name: one for one in list_revocations(self.cluster)}
        if self.revokes:
            new = [one for one in self._forfeited() if names.revocation(*one.key, one.serial) not in held]
            for revocation in new[:MOST_ASKED]:
                with _guarded(counts, revocation.about):
                    if any(map(partial(self._is_held_by_now, revocation.namespace), revocation.lost)):
                        continue  # the next pass takes the loss back
                    name = ask_for(self.cluster, revocation, now=self.now)
                    log.warning("revocation-asked-for", name=name, about=revocation.about, hosts=revocation.lost)
                    if (made := find_revocation(self.cluster, name)) is not None:
                        held[name] = made
        for one in held.values():
            with _guarded(counts, one.revocation.about):
                due |= self._attended(one, counts)
        return due, counts

    def _attended(self, one: HeldRevocation, counts: Counter[str]) -> set[str]:
        """The issuer whose Job has it to do, if there is one. Raises KubeError."""
        if one.revocation.outcome is not None:
            ended = one.revocation.ended_at or self.now
            if self.now - ended >= KEPT_FOR and not self._is_asked_for(one.revocation):
                changes.swap(self.cluster, CONFIGMAPS, v.NAMESPACE, one.config_map, None)
            return set()
        if self._is_no_reason(one.revocation):
            changes.swap(self.cluster, CONFIGMAPS, v.NAMESPACE, one.config_map, None)
            return set()
        issuer = self._pending(one)
        counts["revocations pending"] += bool(issuer)
        counts["revocations given up" if issuer is None else "revocations without issuer"] += not issuer
        return {issuer} if issuer else set()

    def _forfeited(self) -> Iterator[Revocation]:
        """What is good for hosts to which its namespace has no right, as the record and the claims both say."""
        for (namespace, secret_name), record in self.records.items():
            for issued in record.certificates:
                lost = tuple(host for host in issued.forfeited if self._is_lost(namespace, host))
                over = issued.not_after <= self.now or record.has_revoked(serial=issued.serial)
                if lost and not over and not self._is_needed(record, issued, lost):
                    yield Revocation(
                        namespace=namespace,
                        secret_name=secret_name,
                        reason=Reason.CESSATION,
                        serial=issued.serial,
                        lost=lost,
                    )

    def _mend_regained(self, counts: Counter[str]) -> None:
        """Hosts that are their namespace's again: whatever becomes of the claim later, that loss is over."""
        for record in self.records.values():
            named = {host for one in record.certificates for host in one.forfeited}
            back = sorted(host for host in named if self._is_back(record, host))
            if back:  # also of one that has been launched in this pass
                with _guarded(counts, record.name):
                    change_record(self.cluster, record.name, partial(self._with_again, hosts=back))

    def _with_again(self, stored: Record | None, *, hosts: Sequence[str]) -> Record | None:
        for host in hosts if stored is not None else ():
            why = "its namespace holds it again"
            stored = stored and transitions.forfeited(stored, self.now, host=host, cause=why, lost=False)
        return stored

    def _is_held(self, namespace: str, host: str) -> bool:
        claim = self.holders.claims.get(host)
        return claim is not None and claim.checked is not None and self.holders.is_of(claim, namespace)

    def _is_held_by_now(self, namespace: str, host: str) -> bool:
        """Asks the cluster: the pass has read the claims long ago."""
        claim = claim_of(self.cluster, host)
        return claim is not None and claim.checked is not None and self.holders.is_of(claim, namespace)

    def _is_back(self, record: Record, host: str) -> bool:
        """Whether the namespace to which the certificates were issued, and none made anew, holds the host again."""
        made = self.holders.made.get(record.namespace)
        theirs = all(made is None or one.at >= made - CLOCKS for one in record.certificates if host in one.hosts)
        return theirs and self._is_held(record.namespace, host)

    def _is_lost(self, namespace: str, host: str) -> bool:
        return self.holders.whole and not self._is_held(namespace, host)

    def _is_no_reason(self, revocation: Revocation) -> bool:
        """Whether all that was lost has come back before anything was done."""
        record = self.records.get(revocation.key)
        if record is None or not revocation.lost or record.has_revoked(serial=revocation.serial):
            return False
        return all(self._is_back(record, host) for host in revocation.lost)

    def _is_needed(self, record: Record, issued: Issued, lost: tuple[str, ...]) -> bool:
        """Whether it is in use for other hosts, to which the right was never lost, and nobody else has those that are
        lost: then it is revoked as soon as another has taken its place.
        """
        used = issued is record.issued and record.phase not in GONE and set(record.intent.hosts) - set(lost)
        kept = (host for host in issued.hosts if used and host in used)
        return any(not self._is_lost(record.namespace, host) for host in kept) and not any(
            self.holders.is_others(host, record.namespace) for host in lost
        )

    def _is_asked_for(self, revocation: Revocation) -> bool:
        """Whether the next pass would ask for it again."""
        record = self.records.get(revocation.key)
        issued = issued_with(record, revocation.serial) if revocation.lost else None
        if record is None or issued is None or record.has_revoked(serial=issued.serial):
            return False
        return bool(issued.forfeited) and issued.not_after > self.now

    def _pending(self, held: HeldRevocation) -> str | None:
        """The issuer whose Job shall do it; empty if there is none for now, None if it was given up."""
        revocation, record = held.revocation, self.records.get(held.revocation.key)
        issuer = issuer_for(self.cluster, revocation, record, self.issuers)
        problem = revocation.problem if issuer else _no_issuer(revocation, record)
        issued = issued_with(record, revocation.serial)
        ended = issued is not None and issued.not_after <= self.now
        if ended or self.now - held.since >= GIVE_UP_AFTER:
            why = "it has ended" if ended else f"it could not be revoked for {GIVE_UP_AFTER.days} days"
            problem = f"given up, {why}: {problem or 'no Job of the issuer came to an end'}"
            done = rewrite(self.cluster, held, outcome=Outcome.GIVEN_UP, problem=problem, ended_at=self.now)
            if done is not None:
                tell(self.cluster, done, record, problem, now=self.now)
            return None
        done = rewrite(self.cluster, held, issuer=issuer, problem=problem)
        if not issuer and done is not None:
            tell(self.cluster, done, record, f"not revoked yet: {problem}", now=self.now)
        return issuer


@contextmanager
def _guarded(counts: Counter[str], about: str) -> Iterator[None]:
    """One write that is refused keeps no other revocation waiting. Raises KubeError when the cluster is away."""
    try:
        yield
    except (ApiError, RecordError) as problem:
        log.warning("revocation-put-off", about=about, problem=str(problem))
        counts["trouble"] += 1


def _no_issuer(revocation: Revocation, record: Record | None) -> str:
    issued = issued_with(record, revocation.serial)
    if issued is None or not issued.directory:
        return f"{v.NAMESPACE} has no record of whose CA it is from, or that issuer is gone or broken"
    where = issued.directory[:200]
    return f"there is no issuer any more with the CA that it is from ({where}): make one, or revoke it there"
