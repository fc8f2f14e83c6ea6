"""What a sweep does about one certificate besides launching it. Every write is a compare-and-swap."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec

from certs.chain import IssuedCertificate
from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.attempt.vouching import trust_of
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import CONFIGMAPS, Cluster, KubeError
from issuer_job.hosts.loss import LostRight, free_from
from issuer_job.hosts.precedence import Claim
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.state import IssuerTrust, note_signers
from issuer_job.record import intents, transitions
from issuer_job.record.phases import GONE, SWEEP_INTERVAL, Bearing, LaunchReason
from issuer_job.record.record import Issued, Phase, Problem, Record, Renewal
from issuer_job.record.renewal import due_at, too_short
from issuer_job.record.store import Arrow, fresh, write_record
from issuer_job.sweep import rules, secret_requests
from issuer_job.sweep.inventory import Known, Live
from issuer_job.sweep.situation import IN_ORDER, Action, Situation, Verdict
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets.access import Content, Look, Looker, Refusal
from issuer_job.tenant_secrets.bodies import placeholder_secret
from issuer_job.tenant_secrets.judgement import (
    DAMAGED,
    Fitness,
    Misfit,
    is_of_another_server,
    is_spoilt,
    judge,
    of_other_tool,
    overwritten,
    own_certificate,
)
from issuer_job.tenant_secrets.refused import REFUSALS
from issuer_job.upkeep import leftovers, retire

P = ParamSpec("P")

SETTLE_SHARE = 0.6
"""Of the pass's time, for looks and all that costs no order: what is not done by then keeps nobody from a launch."""
CRASHED = Problem(
    type="crashed",
    detail="its Jobs ended without a word, or never got to run: kubectl describe and kubectl logs of Job and pods",
    step="job",
)


@dataclass
class Effects:
    """Acts on one cluster during one pass, until `deadline` (time.monotonic()); `counts` what was done."""

    cluster: Cluster
    issuers: Issuers
    known: Known
    now: datetime
    deadline: float
    looker: Looker = secrets.look_by_policy
    counts: Counter[str] = field(default_factory=Counter)
    signers: Callable[[str, str], bytes] = lambda issuer, directory: b""

    _trust: dict[str, IssuerTrust] = field(default_factory=dict)
    _signers: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        started = time.monotonic()
        self._settle_until = started + (self.deadline - started) * SETTLE_SHARE
        self.cluster = self.cluster.until(self.deadline)

    def has_time(self) -> bool:
        """Whether there is time left for what costs no order."""
        return time.monotonic() < self._settle_until

    def trust(self, record: Record) -> IssuerTrust:
        """By what a certificate is known for one of the record's issuer."""
        name = record.intent.settings.issuer
        if name not in self._trust:
            self._trust[name] = trust_of(name, name, issuers=self.issuers.valid.get, signers=self.signers)
        return self._trust[name]

    def settle(self, situation: Situation, record: Record, verdict: Verdict) -> None:
        """Whatever the verdict asks for besides a launch."""
        if verdict.action is Action.ORPHAN:
            self.counts["orphaned"] += self.write(record, transitions.orphaned) is not None
        elif verdict.action is Action.RETIRE:
            self.counts["retired"] += retire.retire(
                self.cluster, record, now=self.now, looker=self.looker, aliases=self.issuers.aliases
            )
        elif verdict.action is Action.FORGET:
            self.counts["forgotten"] += retire.forget(self.cluster, record)
        elif verdict.action is Action.MARK_SOURCES:
            left = verdict.reason is LaunchReason.ASKS_NO_MORE
            live = secret_requests.others(situation, record) if left else situation.named_by
            self.write(record, intents.noticed_gone, live=live)
        elif verdict.action is Action.GIVE_UP:
            self.put_off(situation, record, verdict, CRASHED)

    def write(self, record: Record, arrow: Arrow[P], *args: P.args, **kwargs: P.kwargs) -> Record | None:
        """Write what the arrow makes of the record; None if that is not any more what was listed.

        Raises KubeError, RecordError.
        """
        whole = fresh(self.cluster, record)
        return whole and write_record(self.cluster, arrow(whole, self.now, *args, **kwargs))

    def tell(
        self,
        situation: Situation,
        record: Record | None,
        reason: str,
        note: str,
        unique: tuple[str, ...],
        *,
        problem: Problem | None = None,
        until: datetime | None = None,
    ) -> None:
        """A warning on all that ask. At its admission one had no uid yet, so the live ones go before the record's."""
        kind = problem.type if problem is not None else ""
        news = events.News(reason, note, self.now, unique, problem=kind, until=until)
        self.tell_news(situation, record, news)

    def tell_news(self, situation: Situation, record: Record | None, news: events.News) -> None:
        """The same of what others have put into words."""
        sources = tuple(entry.source for entry in situation.entries) or (record.sources if record else ())
        events.tell_sources(self.cluster, (situation.namespace, situation.secret_name), sources, news)

    def tell_refused(self, situation: Situation, problem: Problem) -> None:
        """That nothing could be launched, or written down: once for each cause, as long as the Event stays."""
        unique = (situation.namespace, situation.secret_name, problem.type, problem.detail)
        note = f"{problem.note}; it is tried again by a sweep"
        record, now = situation.record, self.now
        self.tell(situation, record, "CertificateFailed", note, unique, problem=problem, until=now)

    def warn_of_refusal(self, situation: Situation, record: Record) -> None:
        """Its launch was refused at admission, where nobody can be told: the webhook writes no Events."""
        retry = record.retry
        if record.phase is not Phase.WAITING or retry is None or retry.problem.step != "launch":
            return
        if retry.problem.type in REFUSALS:
            self.tell_refused(situation, retry.problem)

    def warn_of_end(self, situation: Situation, record: Record) -> None:
        """It has ended; or a third, a tenth of its life is left, and its renewal fails."""
        issued = record.issued
        if issued is None or not situation.named_by:
            return
        left = issued.not_after - self.now
        share = next((word for word, part in _SHARES if left <= issued.lifetime * part), None)
        if share is None or (record.retry is None and share == _SHARES[-1][0]):
            return
        problem = record.retry.problem if record.retry else _NOT_TRIED
        why = f"{problem.detail} ({problem.type})"
        if left <= timedelta(0):
            late = too_short(issued.lifetime, situation.interval, left=issued.left) or _LATE
            news = events.ended(record, issued, self.now, f"its renewal fails: {why}" if record.retry else late)
            self.tell_news(situation, record, news)
            return
        note = f"the certificate has {share} left (until {issued.not_after:%Y-%m-%d %H:%M} UTC) and its renewal fails"
        unique, until = (record.uid, issued.serial, share), record.retry.not_before if record.retry else self.now
        words = f"{note}: {why}"
        self.tell(situation, record, "CertificateExpiring", words, unique, problem=problem, until=until)

    def warn_of_shared_key(self, situation: Situation, record: Record) -> None:
        """Whoever holds the other Secret can be this one's hosts: that is for users and operators to know at once."""
        if not situation.shares_key or record.issued is None:
            return
        self.counts["keys shared"] += 1
        log.error("key-shared", record=record.name, key=record.issued.key_id, serial=record.issued.serial)
        if not situation.named_by:
            return
        what = "a certificate with a new key is ordered"
        if not (rules.key_is_shared(situation, record) or rules.certificate_was_revoked(situation, record)):
            what = "it stays, as its owner put it there or a new key was shared as well: find out who copies it"
        note = f"another certificate's Secret holds the same private key; {what}"
        self.tell(situation, record, "CertificateKeyShared", note, (record.uid, record.issued.key_id))

    def warn_of_standstill(self, situation: Situation, record: Record) -> None:
        """Nothing in certjob is wrong, perhaps, and nothing happens: somebody has to know."""
        if not rules.stands_still(situation, record):
            return
        job = record.job_name
        look = f"kubectl describe pod -n {v.NAMESPACE} -l job-name={job}"
        why = f"a pod of Job {job} finds no room, no image or no way to the API server, or its node is lost: {look}"
        if not rules.job_is_there(situation, record):
            why = f"Job {job} could not be made, or is gone: kubectl describe quota -n {v.NAMESPACE}"
        minutes = (self.now - record.since) // timedelta(minutes=1)
        self.counts["stand still"] += 1
        note = f"the attempt has made no step for {minutes} minutes ({record.phase}); {why}"
        self.tell(situation, record, "CertificateDelayed", note, (record.uid, str(record.epoch)))

    def warn_of_limits(self, situation: Situation, record: Record) -> None:
        """Admission cannot tell afterwards that it has held something back; the same is not told twice."""
        if not rules.was_held_back_lately(situation, record):
            return
        news = events.held_back(record, self.now)
        self.tell_news(situation, record, news)

    def tell_again(self, situation: Situation, record: Record) -> None:
        """What lasts longer than its Event: not all may read anything but that."""
        news = events.lasting(record, self.now, interval=situation.interval) if situation.named_by else None
        if news is not None:
            self.counts["told again"] += 1
            self.tell_news(situation, record, news)

    def look(self, situation: Situation, record: Record, verdict: Verdict) -> Verdict:
        """What the Secret holds, and what follows. One that is not ours to write is left alone until it is due."""
        self.counts["looks"] += 1
        renews = verdict.reason.bearing is Bearing.REPLACES
        try:
            seen = self.looker(self.cluster, record)
        except secrets.SecretRefused as refused:
            if verdict.action is not Action.KNOCK:
                log.info("look-refused", record=record.name, problem=str(refused))
            if verdict.reason is LaunchReason.NOT_WANTED and refused.reason is not Refusal.NOT_IN_FORCE:
                return secret_requests.RETIRED  # whatever is there now, it is not certjob's
            # A renewal must not fail in silence: its Job is refused too, before it orders, and says so.
            return rules.after_look(situation, verdict, good=False) if renews else IN_ORDER
        if (record.namespace, record.secret_name) in self.known.leftover_keys:
            leftovers.delete_keys(self.cluster, record, self.now)
        word = secret_requests.after_word(situation, record, verdict, seen, self.issuers)
        if word is not None:
            log.info("secrets-word", record=record.name, action=word.action, reason=word.reason)
            return word
        found = judge(record, seen, self.trust(record), now=self.now, interval=situation.interval, renews=renews)
        if found.same and seen.content is Content.SHOWN:
            self._learn_signers(record, seen)
        if found.reason is Misfit.OTHER_TOOL:
            self._leave_to_other_tool(situation, record, seen)
            return IN_ORDER
        if found.issued is None and is_spoilt(seen, now=self.now):
            self._put_placeholder(situation, record, seen)
        if found.overwrites and self._overwritten(situation, record, seen, found):
            return IN_ORDER
        after = rules.after_look(situation, verdict, good=found.good)
        if found.issued is None or found.lacks:
            log.info("not-good", record=record.name, reason=found.reason, message=found.message)
        elif after is IN_ORDER and not found.same:
            self._adopt(situation, record, found.issued)
        elif after is IN_ORDER and seen.content is Content.CHANGED:
            self._left_alone(situation, record, seen)
        return after

    def _adopt(self, situation: Situation, record: Record, issued: Issued) -> None:
        """A good certificate that the Secret holds takes the place of what the record says."""
        if self.write(record, transitions.adopted, issued=issued) is None:
            return
        self.counts["adopted"] += 1
        for news in events.about_lives(record, issued, self.now, interval=situation.interval):
            self.tell_news(situation, record, news)

    def _learn_signers(self, record: Record, seen: Look) -> None:
        """Who signs for the issuer, by a certificate that is known to be its own."""
        trust, issued = self.trust(record), record.issued
        if issued is None or not trust.name or issued.directory != trust.directory:
            return
        known = self._signers.setdefault(trust.name, trust.signers())
        chain = seen.stored.tls_crt or b""
        noted = note_signers(self.cluster, trust.name, trust.directory, chain, known=known, now=self.now)
        self._signers[trust.name] = noted

    def _leave_to_other_tool(self, situation: Situation, record: Record, seen: Look) -> None:
        """Two tools on one Secret: the other one has it, and each pass sees whether that is still so."""
        self.counts["of another tool"] += 1
        if record.phase is not Phase.ISSUED:
            return
        problem, version = of_other_tool(record, seen), self.issuers.version(record.issuer)
        if self.write(record, transitions.failed, problem=problem, issuer=version) is not None:
            log.warning("left-to-other-tool", record=record.name)
            self.tell(
                situation, record, "CertificateFailed", problem.note, (record.uid, "tool", seen.resource_version)
            )

    def _overwritten(self, situation: Situation, record: Record, seen: Look, found: Fitness) -> bool:
        """Say who has written over what was issued; whether it stays so for now, because that goes on."""
        problem, until = overwritten(record, seen, found), found.until
        log.warning("overwritten", record=record.name, problem=problem.detail)
        self.counts["overwritten"] += 1
        if until is not None and self.write(record, transitions.held_back, problem=problem, until=until) is None:
            return True
        unique = (record.uid, "overwritten", seen.resource_version, str(until))
        self.tell(situation, record, "CertificateOverwritten", problem.detail, unique)
        return until is not None

    def hear(self, situation: Situation, record: Record, verdict: Verdict) -> tuple[Situation, Verdict | None]:
        """What a Secret that asks for itself says, where no Job comes to ask it; None if nothing follows."""
        if not record.secret_is_its_owners:
            return situation, None
        self.counts["looks"] += 1
        try:
            seen = self.looker(self.cluster, record)
        except secrets.SecretRefused as refused:
            log.info("look-refused", record=record.name, problem=str(refused))
            if refused.reason is not Refusal.FOREIGN:
                return situation, None
            seen = Look()  # one that asks is certjob's to write
        word = secret_requests.after_word(situation, record, verdict, seen, self.issuers)
        if word is not None:
            log.info("secrets-word", record=record.name, action=word.action, reason=word.reason)
        return secret_requests.told(situation, seen, self.issuers), word

    def _put_placeholder(self, situation: Situation, record: Record, seen: Look) -> None:
        """In the place of what serves nobody: its certificate may have to wait."""
        try:
            secrets.write(self.cluster, placeholder_secret(record, seen, now=self.now))
        except (KubeError, secrets.SecretRefused) as problem:
            log.info("placeholder-failed", record=record.name, problem=str(problem))
            return
        self.counts["damaged"] += 1
        self.tell(situation, record, "CertificateDamaged", DAMAGED, (record.uid, "damaged", seen.resource_version))

    def tell_of_other_servers(self) -> None:
        """On each issuer that was pointed at another CA, how many certificates of the former one are left."""
        left = Counter(
            record.intent.settings.issuer
            for record in self.known.records.values()
            if record.phase not in GONE and is_of_another_server(record, self.trust(record))
        )
        self.counts["of another server"] += left.total()
        for name, number in left.items():
            what = f"from another server than {self._trust[name].directory}, and replaced"
            self._tell_of_many(name, "IssuerServerChanged", number, what, self.issuers.versions[name])

    def tell_of_wishes(self, older: Counter[str]) -> None:
        """On each issuer all of whose certificates are to be replaced how many are left."""
        self.counts["asked to be replaced"] += older.total()
        for name, number in older.items():
            asked = self.issuers.renew[name]
            self._tell_of_many(name, "IssuerRenewsAll", number, f"from before {asked}, and to be replaced", asked)

    def _tell_of_many(self, issuer: str, reason: str, number: int, what: str, occasion: str) -> None:
        found = self.cluster.find(CONFIGMAPS, v.NAMESPACE, issuer)
        if found is None:
            return
        metadata, are = found["metadata"], "certificate is" if number == 1 else "certificates are"
        about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": v.NAMESPACE, "name": issuer}
        note = (
            f"{number} {are} {what}: those that end soon first, the others spread over the sweeps and within the "
            "issuer's limits. Until then they are served"
        )
        news = events.News(reason, note, self.now, (metadata["uid"], occasion))
        events.tell_one(self.cluster, about | {"uid": metadata["uid"]}, news)

    def _left_alone(self, situation: Situation, record: Record, seen: Look) -> None:
        due = due_at(record, interval=situation.interval)
        note = (
            f"Secret {record.secret_name} was changed by somebody else, and what it holds cannot be seen on this "
            "cluster (before Kubernetes 1.36): it is left as it is until its renewal is due, at "
            f"{due:%Y-%m-%d %H:%M} UTC. For a new certificate now delete it"
        )
        log.info("left-alone", record=record.name, secret=record.secret_name)
        self.counts["left alone"] += 1
        self.tell(situation, record, "CertificateHeldBack", note, (record.uid, "changed", seen.resource_version))

    def forfeit(self, right: LostRight) -> bool:
        """Write down that the certificate outlives its namespace's right to a host, and say it; whether that is
        written. Raises KubeError, RecordError.
        """
        key, host = (right.record.namespace, right.record.secret_name), right.host
        stored = self.write(self.known.records[key], transitions.forfeited, host=host, cause=right.cause)
        if stored is None:
            return False
        self.known.records[key] = stored.listed
        self.counts["rights lost"] += 1
        log.warning("right-lost", record=stored.name, host=host, cause=right.cause)
        note = f"{host}: the certificate is still valid, but the namespace has no right to the host: {right.cause}"
        news = events.News("CertificateForfeited", note, self.now, (stored.uid, host, str(right.cause)))
        events.tell_sources(self.cluster, key, stored.sources, news)
        return True

    def serves(self, record: Record) -> bool:
        """Whether the Secret holds the certificate that the record knows, and its key. Raises KubeError."""
        seen = self._shown(record)
        if seen is None:
            return False
        found = judge(record, seen, IssuerTrust(), now=self.now, interval=SWEEP_INTERVAL, renews=False)
        return found.issued is not None and found.same and seen.content is not Content.UNKNOWN

    def own_certificate(self, record: Record) -> IssuedCertificate | None:
        """What the Secret of a record that knows no certificate holds of certjob's own. Raises KubeError."""
        seen = self._shown(record)
        return None if seen is None else own_certificate(record, seen, self.trust(record), now=self.now)

    def _shown(self, record: Record) -> Look | None:
        """What the Secret holds; None if it is not shown."""
        self.counts["looks"] += 1
        try:
            return self.looker(self.cluster, record)
        except secrets.SecretRefused:
            return None

    def warn_of_former(self, record: Record, claim: Claim, live: Live, options: Options) -> None:
        """Say that the namespace is not the one that the host was for, before anything is lost."""
        key = (record.namespace, record.secret_name)
        log.warning("claim-of-former-namespace", record=record.name, host=claim.host)
        free = free_from(claim, options)
        note = (
            f"{claim.host}: the right to it is from before the namespace was made. It is lost at "
            f"{free:%Y-%m-%d %H:%M} UTC, unless the Secret then holds the certificate from before, too; an operator "
            f"confirms it at once with transfer-host {claim.host} {claim.namespace}"
        )
        news = events.News("CertificateOfFormerNamespace", note, self.now, (record.uid, claim.uid))
        events.tell_sources(self.cluster, key, [entry.source for entry in live.entries.get(key, ())], news)

    def remember_suggestion(self, record: Record, renewal: Renewal) -> None:
        """Keep what the CA said about the certificate's renewal. Raises KubeError, RecordError."""
        stored = self.write(record, transitions.renewal_suggested, renewal=renewal)
        if stored is not None:
            self.known.records[record.namespace, record.secret_name] = stored.listed
            self.counts["renewal suggestions"] += 1

    def put_off(self, situation: Situation, record: Record, verdict: Verdict, problem: Problem) -> None:
        """There is no point in a Job now: wait before the next one, longer each time, and say why."""
        wait = wait_after(transitions.failures_of(record) + 1)
        version = self.issuers.version(record.issuer)

        def waiting(whole: Record, now: datetime) -> Record:
            left = verdict.left(whole, now)
            return transitions.waiting(left, now, problem=problem, wait=wait, issuer=version)

        if self.write(record, waiting) is None:
            return
        self.counts["given up for now"] += 1
        until = self.now + wait
        note = f"{problem.detail}; it is tried again after {until:%Y-%m-%d %H:%M:%S} UTC"
        unique = (record.uid, str(record.epoch), problem.type)
        self.tell(situation, record, "CertificateFailed", note, unique, problem=problem, until=until)


_NOT_TRIED = Problem(type="notRenewed", detail="no order could be tried: see the other Events, and the sweep's log")
_LATE = "no sweep has renewed it in time, see the other Events and the sweeps' logs"
_SHARES = (("a tenth of its life", 0.1), ("a third of its life", 1 / 3))
