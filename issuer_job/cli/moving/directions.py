"""From where to where: how each direction reads the cluster, and makes its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from issuer_job.cluster.api import Cluster
from issuer_job.demand.common import written_annotations
from issuer_job.demand.ingress_spec import hosts_by_secret
from issuer_job.migrate.carry.read import read_cert_manager, read_estate, read_kube_lego
from issuer_job.migrate.carry.served import chains, host_to_ask
from issuer_job.migrate.leaving.leaving import to_cert_manager
from issuer_job.migrate.plans.arriving import from_cert_manager
from issuer_job.migrate.plans.cm_targets import Choices
from issuer_job.migrate.plans.from_kube_lego import from_kube_lego
from issuer_job.migrate.plans.steps import MovePlan


@dataclass(frozen=True)
class MoveWish:
    """What the operator says. `connect`: the address that is asked in the place of every host's own."""

    namespace: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)
    orders: bool = False
    new_accounts: bool = False
    connect: str = ""
    handshakes: bool = True

    @property
    def choices(self) -> Choices:
        """As plans have it."""
        return Choices(self.namespace, self.issuers, self.orders, self.new_accounts)


class Direction(Protocol):
    """One way to move. `nothing` is said where there is nothing to move, `done` at the end."""

    nothing: str
    done: str

    def plan(self) -> MovePlan:
        """As the cluster is now. Raises KubeError, OptionsError."""


Clock = Callable[[], datetime]
MakeDirection = Callable[[Cluster, MoveWish, Clock], Direction]
Key = tuple[str, str]


@dataclass
class Handshakes:
    """Handshakes, each once in a run: what is in a Secret is not changed by a move."""

    asked: MoveWish
    seen: dict[Key, bytes] = field(default_factory=dict)
    tried: set[Key] = field(default_factory=set)

    def of(self, hosts: Mapping[Key, tuple[str, ...]]) -> dict[Key, bytes]:
        """The chains, by Secret."""
        new = {key: host_to_ask(names) for key, names in hosts.items() if names and key not in self.tried}
        if self.asked.handshakes and new:
            self.tried |= new.keys()
            self.seen |= chains(new, connect=self.asked.connect)
        return self.seen


@dataclass
class FromCertManager:
    """See Direction."""

    cluster: Cluster
    asked: MoveWish
    now: Clock
    nothing: str = "cert-manager has no Certificates here."
    done: str = "done: nothing is left to move. cert-manager's custom resources are left: delete them when you like"
    shown: Handshakes = field(init=False)

    def __post_init__(self) -> None:
        self.shown = Handshakes(self.asked)

    def plan(self) -> MovePlan:
        """See Direction."""
        theirs = read_cert_manager(self.cluster)
        estate = read_estate(self.cluster, now=self.now(), named=[each.key for each in theirs.certificates])
        meant = (each for each in theirs.certificates if self.asked.namespace in {"", each.metadata.namespace})
        served = self.shown.of({each.key: each.spec.dns_names for each in meant})
        return from_cert_manager(replace(estate, served=served), theirs, self.asked.choices)


@dataclass
class FromKubeLego:
    """See Direction."""

    cluster: Cluster
    asked: MoveWish
    now: Clock
    nothing: str = "kube-lego has nothing here that certjob has not."
    done: str = "done: nothing is left to move. Delete kube-lego when you like, its Secrets in users' namespaces stay"
    shown: Handshakes = field(init=False)

    def __post_init__(self) -> None:
        self.shown = Handshakes(self.asked)

    def plan(self) -> MovePlan:
        """See Direction."""
        lego = read_kube_lego(self.cluster)
        if lego is None:
            self.nothing = "there is no Deployment of kube-lego"
            return MovePlan(())
        estate = read_estate(self.cluster, now=self.now())
        meant = [each for each in estate.ingresses if lego.is_asked(written_annotations(each))]
        hosts = {
            (each["metadata"]["namespace"], name): tuple(names)
            for each in meant
            for name, names in hosts_by_secret(each).items()
            if self.asked.namespace in {"", each["metadata"]["namespace"]}
        }
        return from_kube_lego(replace(estate, served=self.shown.of(hosts)), lego, self.asked.choices)


@dataclass
class ToCertManager:
    """See Direction."""

    cluster: Cluster
    asked: MoveWish
    now: Clock
    nothing: str = "certjob has no certificates here that somebody asks for."
    done: str = "done: nothing is left to move. certjob has forgotten the certificates"
    shown: Handshakes = field(init=False)

    def __post_init__(self) -> None:
        self.shown = Handshakes(self.asked)

    def plan(self) -> MovePlan:
        """See Direction."""
        theirs, estate = read_cert_manager(self.cluster), read_estate(self.cluster, now=self.now())
        hosts = {
            key: record.issued.hosts
            for key, record in estate.records.items()
            if record.issued is not None and self.asked.namespace in {"", key[0]}
        }
        return to_cert_manager(replace(estate, served=self.shown.of(hosts)), theirs, self.asked.choices)


def directions() -> Mapping[str, MakeDirection]:
    """By the word that the command has for each."""
    return {
        "from-kube-lego": FromKubeLego,
        "from-cert-manager": FromCertManager,
        "to-cert-manager": ToCertManager,
    }
