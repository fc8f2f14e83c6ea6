"""What is in the cluster before a move, as it was read, and what certjob would make of a certificate that is found.

Pure: the judgement is the one that certjob's Jobs make, by dates, hosts and chain; keys are seen by nobody here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from urllib.parse import urlsplit

from certs.chain import IssuedCertificate, describe_chain
from certs.errors import CertError
from certs.hostnames import covers
from certs.renewal import renewal_due_at
from certs.trust import Origin
from issuer_job import names
from issuer_job.attempt.vouching import trust_of
from issuer_job.cluster.api import INGRESSES, SECRETS, Json, Resource
from issuer_job.demand.common import is_being_deleted
from issuer_job.demand.ingress import served_secrets
from issuer_job.demand.share import Use, use_of
from issuer_job.hosts.at_sweep import Holders
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import CA, SELF_SIGNED
from issuer_job.migrate.plans.steps import Verb, WillBe, Write
from issuer_job.record.record import Record

Key = tuple[str, str]
"""Namespace and name of a Secret."""
_TRIALS = ("staging", "test-api", "sandbox")
"""Parts of the host names of servers whose certificates nobody is to trust."""


@dataclass(frozen=True)
class Estate:
    """All that a plan is made of besides the other tool's own objects.

    `secrets` are those of type kubernetes.io/tls, with metadata alone; `of_other_types` are Secrets that something
    names and that are none. `ready` are the issuers whose last test was good, `enabled` the namespaces that are opted
    in as a whole. `served` are chains (PEM) that hosts have shown in a handshake, by the Secret that they are for;
    `signers` see `issuers.state`.
    """

    now: datetime
    interval: timedelta
    holders: Holders
    issuers: Issuers
    options: Options = Options()  # noqa: RUF009 - frozen
    ingresses: tuple[Json, ...] = ()
    secrets: Mapping[Key, Json] = field(default_factory=dict)
    of_other_types: frozenset[Key] = frozenset()
    records: Mapping[Key, Record] = field(default_factory=dict)
    ready: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    served: Mapping[Key, bytes] = field(default_factory=dict)
    signers: Callable[[str, str], bytes] = lambda name, directory: b""

    def serving(self, key: Key) -> list[Json]:
        """The Ingresses that serve the Secret."""
        return self._serving.get(key, [])

    @cached_property
    def _serving(self) -> dict[Key, list[Json]]:
        found: dict[Key, list[Json]] = defaultdict(list)
        for ingress in self.ingresses:
            for name in () if is_being_deleted(ingress) else served_secrets(ingress):
                found[ingress["metadata"]["namespace"], name].append(ingress)
        return found

    def after(self, writes: Iterable[Write]) -> Estate:
        """With what these do to labels and annotations of its Ingresses and Secrets."""
        patches = {(w.resource, w.namespace, w.name): w.body or {} for w in writes if w.verb is Verb.PATCH}

        def patched(resource: Resource, found: Json) -> Json:
            metadata = found["metadata"]
            patch = patches.get((resource, metadata["namespace"], metadata["name"]), {}).get("metadata", {})
            new = {kind: merged(metadata.get(kind) or {}, patch[kind]) for kind in _MERGED & patch.keys()}
            return found | {"metadata": metadata | new} if new else found

        return replace(
            self,
            ingresses=tuple(patched(INGRESSES, each) for each in self.ingresses),
            secrets={key: patched(SECRETS, each) for key, each in self.secrets.items()},
        )

    def use(self, namespace: str) -> Use:
        """What the namespace has of what certjob allows it."""
        mine = (use_of(record) for record in self.records.values() if record.namespace == namespace)
        return sum(mine, Use())

    def denied_host(self, namespace: str, hosts: Iterable[str]) -> str:
        """The first host that the namespace would not get from certjob; empty if it gets them all."""
        return next((host for host in hosts if not self.holders.may_have(namespace, host)), "")

    def shown(self, key: Key) -> IssuedCertificate | None:
        """What a host has shown that the Secret is served for."""
        try:
            return describe_chain(self.served[key]) if key in self.served else None
        except CertError:
            return None


_MERGED = frozenset({"labels", "annotations"})


def merged(has: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    """What is there with a merge patch (RFC 7396)."""
    return {name: value for name, value in {**has, **patch}.items() if value is not None}


@dataclass(frozen=True)
class Found:
    """A certificate in a Secret, as far as others say: `names` and dates are cert-manager's word, if it has one."""

    names: Collection[str] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True)
class Fate:
    """What becomes of it, and why."""

    will_be: WillBe
    why: str


def fate_of(
    estate: Estate,
    key: Key,
    found: Found,
    *,
    hosts: Collection[str],
    issuer: str,
    issuers: Issuers,
    renew_before: timedelta | None = None,
) -> Fate:
    """Whether certjob would leave the certificate in its Secret, asked for these hosts from this issuer."""
    shown = estate.shown(key)
    if shown is not None and found.not_after is not None and shown.not_after != found.not_after:
        shown = None  # another one is served there
    if shown is not None:
        found = Found(shown.names, shown.not_before, shown.not_after)
    if found.not_before is None or found.not_after is None:
        return Fate(WillBe.ORDERS, "nothing says until when it is good: no host has shown it")
    if estate.now >= found.not_after:
        return Fate(WillBe.ORDERS, f"it has ended on {found.not_after:%Y-%m-%d}")
    if lacking := sorted(host for host in hosts if not covers(found.names, host)):
        return Fate(WillBe.ORDERS, f"it lacks {lacking[0]}")
    due = renewal_due_at(
        not_before=found.not_before,
        not_after=found.not_after,
        renew_before=renew_before,
        suggested=None,
        interval=estate.interval,
        spread_key=names.record(*key),
    )
    if estate.now >= due:
        return Fate(WillBe.ORDERS, f"its renewal is due since {due:%Y-%m-%d}: let it be renewed first")
    good = f"good until {found.not_after:%Y-%m-%d}, hosts equal"
    chain = estate.served.get(key, b"") if shown is not None else b""
    return _trusted(estate, chain, shown, good=good, issuer=issuer, issuers=issuers)


def _trusted(
    estate: Estate, chain: bytes, shown: IssuedCertificate | None, *, good: str, issuer: str, issuers: Issuers
) -> Fate:
    """Whether it is what the issuer would give: by its chain, else by what is known of the CA."""
    known = issuers.valid[issuer]
    if shown is not None:
        trust = trust_of(issuer, issuer, issuers=issuers.valid.get, signers=estate.signers)
        if trust.origin(chain, now=estate.now) is not Origin.UNKNOWN:
            return Fate(WillBe.ADOPTED, good)
        if known.type == CA.name:
            return Fate(WillBe.SIGNED, f"{good}; signed anew by the CA's key when it is taken over")
        return Fate(WillBe.ORDERS, f"signed by {shown.issuer_name[:60]!r}, who is no public CA, nor in its caBundle")
    if known.type == SELF_SIGNED.name:
        return Fate(WillBe.ADOPTED, good)
    if known.type == CA.name:
        return Fate(WillBe.SIGNED, f"{good}; signed anew by the CA's key if nobody knows who has signed it")
    return _by_server(known, good)


def _by_server(known: Issuer, good: str) -> Fate:
    host = urlsplit(known.server).hostname or ""
    if any(trial in host for trial in _TRIALS):
        return Fate(WillBe.ORDERS, f"{host} is a test environment, whose certificates nobody trusts")
    if known.ca_bundle:
        return Fate(WillBe.ORDERS, "whether its caBundle has the root was not seen: no host has shown it (--connect)")
    return Fate(WillBe.ADOPTED, good)


def with_issuers(issuers: Issuers, more: Mapping[str, Issuer]) -> Issuers:
    """certjob's issuers, with those that are to come."""
    return replace(issuers, valid={**issuers.valid, **more})
