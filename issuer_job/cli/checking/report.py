"""All that is found about one thing that asks: what the webhook says, what operators know, what this machine sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from issuer_job.cli.base.endings import if_allowed
from issuer_job.cli.checking import known as knowing
from issuer_job.cli.checking.addresses import IngressAddresses, Port80, ingress_addresses, judge_dns, judge_port_80
from issuer_job.cli.checking.admission import (
    HOST_POLICY,
    ExpectedOrder,
    Tried,
    is_asking,
    judge_admission,
    judge_host_policy,
    orders_of,
    wants_of,
)
from issuer_job.cli.checking.asking import SeenFromHere, Wish
from issuer_job.cli.checking.caa import ABOUT as CAA
from issuer_job.cli.checking.caa import Ca, judge_caa
from issuer_job.cli.checking.known import OperatorsView
from issuer_job.cli.out.verdicts import Judged, Mark, fail, of_all, ok, unknown
from issuer_job.cluster.api import INGRESSES, Cluster
from issuer_job.demand.askers import is_enabled
from issuer_job.demand.common import Wants
from issuer_job.demand.ingress import ingress_class
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import IssuerState, load_state
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.record.record import SourceKind


@dataclass(frozen=True)
class Checked:
    """One thing that asks, and what would be ordered for it."""

    tried: Tried
    orders: tuple[ExpectedOrder, ...]
    wants: Wants | None
    asks: bool | None
    controller: IngressAddresses = field(default_factory=IngressAddresses)

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.tried.asker["metadata"]["namespace"])

    @property
    def hosts(self) -> list[str]:
        """All that would be certified, each once."""
        return sorted({host for order in self.orders for host in order.hosts})


def subject_of(cluster: Cluster, tried: Tried, known: OperatorsView | None) -> Checked:
    """What would be ordered. Raises KubeError."""
    if tried.refused:  # perhaps it is not even an Ingress
        return Checked(tried, (), None, None)
    namespace = str(tried.asker["metadata"]["namespace"])
    enabled = if_allowed(lambda: is_enabled(cluster, namespace)) if tried.kind is SourceKind.INGRESS else False
    asks = is_asking(tried, namespace_enabled=enabled)
    wants = None
    if known is not None:
        wants = wants_of(tried, known.issuers, namespace_enabled=bool(enabled))
    orders = orders_of(tried, wants) if asks is not False else ()
    return Checked(tried, orders, wants, asks, _controller(cluster, tried, namespace))


def _controller(cluster: Cluster, tried: Tried, namespace: str) -> IngressAddresses:
    """Where the controller of its class is, as far as the Ingresses that may be read tell."""
    if tried.kind is not SourceKind.INGRESS:
        return IngressAddresses()
    own = ingress_class(tried.asker)
    found = if_allowed(lambda: list(cluster.items(INGRESSES, namespace))) or [tried.asker]
    return ingress_addresses(one for one in (*found, tried.asker) if ingress_class(one) == own)


def wish_of(subjects: Iterable[Checked], known: OperatorsView | None) -> Wish:
    """What to ask of the network for them all."""
    reached, certified, directories = dict[str, None](), dict[str, None](), dict[str, str]()
    for order in (order for subject in subjects for order in subject.orders):
        issuer = known.issuers.valid.get(order.issuer) if known is not None else None
        methods = knowing.methods_of(issuer, order)
        reached |= dict.fromkeys(host for host, method in methods.items() if method == "http-01")
        if issuer is None or type_of(issuer).has_account:
            certified |= dict.fromkeys(methods)
        if issuer is not None and issuer.server:
            directories[issuer.server] = issuer.ca_bundle
    return Wish(tuple(reached), tuple(certified), directories)


def findings_of(
    cluster: Cluster, subject: Checked, known: OperatorsView | None, seen: Callable[[], SeenFromHere], now: datetime
) -> list[Judged]:
    """A line for each thing; `seen` is asked for when all the rest is known. Raises KubeError."""
    found = judge_admission(subject.tried, subject.orders, subject.wants, asks=subject.asks)
    if not subject.orders:
        return found
    found += _host_policy(cluster, subject, known, now)
    if known is None:
        says = "what it is, and has left of its limits, you may not read; its CA is taken for one that asks port 80"
        found.append(unknown(knowing.ISSUER, says))
        return [*found, *_network(subject, None, seen(), {})]
    used = sorted({order.issuer for order in subject.orders})
    issuers = {name: known.issuers.valid[name] for name in used if name in known.issuers.valid}
    states = {name: load_state(cluster, name, directory_of(issuer)) for name, issuer in issuers.items()}
    for name in used:
        of_issuer = next(order for order in subject.orders if order.issuer == name)
        found.append(knowing.judge_issuer(known, of_issuer, states.get(name), now))
    limits = list(_limits(cluster, subject, known, states, now))
    return [*found, *_network(subject, known, seen(), states), *limits]


def _host_policy(cluster: Cluster, subject: Checked, known: OperatorsView | None, now: datetime) -> list[Judged]:
    told = judge_host_policy(subject.tried)
    if known is None:
        if told:
            return told
        says = "the webhook objects to no host; who else names one, the order looks at"
        return [Judged(verdict=Mark.OK if subject.tried.warnings else Mark.UNKNOWN, about=HOST_POLICY, says=says)]
    if isinstance(known.options, str):
        docs = "docs/troubleshooting.md#brokenoptions"
        return [fail(HOST_POLICY, known.options, docs=docs)]
    whose = if_allowed(lambda: knowing.read_claims(cluster, subject.hosts, subject.namespace, now))
    if whose is None:
        says = "not asked: you may not list all Ingresses, or get the namespace"
        return [unknown(HOST_POLICY, says)]
    return knowing.judge_hosts(known.options, subject.hosts, subject.namespace, *whose)


def _network(
    subject: Checked, known: OperatorsView | None, seen: SeenFromHere, states: dict[str, IssuerState]
) -> Iterator[Judged]:
    methods: dict[str, str] = {}
    caa: list[Judged] = []
    for order in subject.orders:
        issuer = known.issuers.valid.get(order.issuer) if known is not None else None
        of_order = knowing.methods_of(issuer, order)
        methods |= of_order
        if issuer is None or type_of(issuer).has_account:
            ca = _ca(issuer, seen, states.get(order.issuer))
            caa += [judge_caa(host, seen.caa, ca, method) for host, method in of_order.items()]
    reached = {host for host, method in methods.items() if method == "http-01"}
    yield from _guessed(known, judge_dns((led for led in seen.led if led.host in reached), subject.controller))
    yield from _summed(caa)
    asked = tuple(one for one in seen.port_80.asked if one.host in reached)
    port_80 = Port80(asked, tuple(host for host in seen.port_80.unasked if host in reached))
    yield from _guessed(known, judge_port_80(port_80))


def _guessed(known: OperatorsView | None, found: Iterable[Judged]) -> Iterator[Judged]:
    """No fault where nobody knows whether the CA asks port 80 at all."""
    for one in found:
        faulty = one.verdict is Mark.FAIL and known is None
        yield replace(one, verdict=Mark.WARN, says=f"{one.says}, if it asks port 80") if faulty else one


def _ca(issuer: Issuer | None, seen: SeenFromHere, state: IssuerState | None) -> Ca:
    identities, _ = seen.named.get(issuer.server, (None, "")) if issuer is not None else (None, "")
    return Ca(identities, state.account_url if state is not None else "")


def _summed(found: Sequence[Judged]) -> list[Judged]:
    """Each sentence once; those of hosts for which nothing is wrong as one."""
    wrong = list(dict.fromkeys(one for one in found if one.verdict is not Mark.OK))
    good = [one for one in found if one.verdict is Mark.OK]
    if len(good) < 2:
        return [*good, *wrong]
    says = f"allows {of_all(len(good), 'host')}" if not wrong else f"allows {len(good)} of {len(found)} hosts"
    return [ok(CAA, says), *wrong]


def _limits(
    cluster: Cluster, subject: Checked, known: OperatorsView, states: dict[str, IssuerState], now: datetime
) -> Iterator[Judged]:
    entries = {entry.secret_name: entry for entry in (subject.wants.entries if subject.wants is not None else ())}
    lines: dict[Judged, None] = {}
    for order in subject.orders:
        source = entries[order.secret_name].source
        record, good = knowing.record_of(cluster, subject.namespace, order, source, now)
        if good and record.issued is not None:
            until = f"{record.issued.not_after:%Y-%m-%d}"
            says = f"{order.secret_name} has a certificate for that until {until}: no other is ordered now"
            lines[ok("Secret", says)] = None
        if order.issuer in states:
            issuer = known.issuers.valid[order.issuer]
            lines |= dict.fromkeys(knowing.judge_limits(issuer, states[order.issuer], record, order, now))
    yield from lines
