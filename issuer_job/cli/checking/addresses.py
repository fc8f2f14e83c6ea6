"""Where hosts lead, and whether that is where challenges are answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from issuer_job.cli.out.verdicts import Judged, fail, of_all, ok, unknown, warn
from issuer_job.cluster.api import Json
from issuer_job.dns01.lookup import Addresses
from issuer_job.http01.probe_addresses import is_public
from issuer_job.http01.probe_http import ProbeReason, Seen

DNS, PORT_80 = "DNS", "port 80"
_NO_ROUTE = frozenset({"Network is unreachable", "No route to host", "Cannot assign requested address"})
"""What a machine without IPv6 says of all addresses of that kind."""


@dataclass(frozen=True)
class IngressAddresses:
    """Where the ingress controller is, as the status of Ingresses says: addresses, and names of load balancers."""

    addresses: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


def ingress_addresses(ingresses: Iterable[Json]) -> IngressAddresses:
    """What the status of Ingresses of one class tells."""
    addresses, names = set[str](), set[str]()
    for ingress in ingresses:
        status = (ingress.get("status") or {}).get("loadBalancer") or {}
        for entry in status.get("ingress") or ():
            if address := _canonical(str(entry.get("ip") or "")):
                addresses.add(address)
            if name := str(entry.get("hostname") or "").lower().rstrip("."):
                names.add(name)
    return IngressAddresses(frozenset(addresses), frozenset(names))


@dataclass(frozen=True)
class Led:
    """Where a host leads by each family; a text says why that could not be looked up."""

    host: str
    v4: Addresses | str
    v6: Addresses | str

    @property
    def every(self) -> tuple[str, ...]:
        """All addresses."""
        return tuple(
            address for side in (self.v4, self.v6) if not isinstance(side, str) for address in side.addresses
        )

    @property
    def aliases(self) -> frozenset[str]:
        """What it is an alias of."""
        sides = (side for side in (self.v4, self.v6) if not isinstance(side, str))
        return frozenset(name for side in sides for name in side.aliases)

    @property
    def first_of_each(self) -> tuple[str, ...]:
        """One address of each family: those that a CA asks first."""
        sides = (side for side in (self.v6, self.v4) if not isinstance(side, str))
        return tuple(side.addresses[0] for side in sides if side.addresses)


def judge_dns(hosts: Iterable[Led], controller: IngressAddresses) -> list[Judged]:
    """What is wrong with where hosts lead, for those that are proven over HTTP-01; one line if nothing is."""
    every = list(hosts)
    found = [finding for led in every for finding in _wrong(led, controller)]
    if found or not every:
        return found
    known = controller.addresses or controller.names
    where = "lead to the ingress controller" if known else "have an address"
    where = where.replace("lead", "leads").replace("have", "has") if len(every) == 1 else where
    addresses = sorted({address for led in every for address in led.every})
    listed = ", ".join(addresses[:3]) + (f" and {len(addresses) - 3} more" if len(addresses) > 3 else "")
    return [ok(DNS, f"{of_all(len(every), 'host')} {where} ({listed})")]


def _wrong(led: Led, controller: IngressAddresses) -> Iterator[Judged]:
    host = led.host
    for side in (led.v4, led.v6):
        if isinstance(side, str) and not led.every:
            yield unknown(DNS, f"{host} could not be looked up: {side}")
            return
    if not led.every:
        exists = any(not isinstance(side, str) and side.exists for side in (led.v4, led.v6))
        says = f"{host} has no address" if exists else f"there is no name {host}"
        docs = "docs/troubleshooting.md#dns"
        yield fail(DNS, f"{says}: a CA cannot ask it", docs=docs)
        return
    if private := [address for address in led.every if not is_public(address)]:
        says = f"{host} leads to {private[0]}, which no CA on the Internet can reach"
        yield warn(DNS, says)
    if not controller.addresses or led.aliases & controller.names:
        return
    astray = [address for address in led.every if _canonical(address) not in controller.addresses]
    if len(astray) < len(led.every):
        for address in astray:
            kind, first = ("AAAA", "; CAs try IPv6 first") if ":" in address else ("A", "")
            says = f"{host} {kind} {address} is not the ingress controller's address{first}"
            yield warn(DNS, says)
    elif not controller.names:
        own = ", ".join(sorted(controller.addresses)[:3])
        says = f"{host} leads to {astray[0]}, and the ingress controller is at {own}: right if a proxy is before it"
        yield warn(DNS, says)


@dataclass(frozen=True)
class Asked:
    """What one address of a host said on port 80; `server` is who answered, as it says."""

    host: str
    address: str
    seen: Seen

    @property
    def answered(self) -> bool:
        """Whether somebody spoke HTTP."""
        return self.seen.reason not in {ProbeReason.UNREACHABLE, ProbeReason.NO_ENDPOINTS}

    @property
    def has_no_way(self) -> bool:
        """Whether this machine cannot ask such addresses at all."""
        return self.seen.detail in _NO_ROUTE


@dataclass(frozen=True)
class Port80:
    """All that was asked. `unasked` are hosts whose turn did not come in time."""

    asked: tuple[Asked, ...] = ()
    unasked: tuple[str, ...] = field(default=())


def judge_port_80(port_80: Port80) -> list[Judged]:
    """Whether hosts answer here; a CA asks from elsewhere."""
    by_host: dict[str, list[Asked]] = {}
    for one in port_80.asked:
        by_host.setdefault(one.host, []).append(one)
    found = [finding for host, asked in by_host.items() for finding in _silent(host, asked)]
    if port_80.unasked:
        says = f"{', '.join(port_80.unasked[:3])} could not be asked in time"
        found.append(unknown(PORT_80, says))
    silent = {host for host, asked in by_host.items() if not any(one.answered for one in asked)}
    good = [host for host in by_host if host not in silent]
    if not good:
        return found
    answers = [one for host in good for one in by_host[host] if one.answered]
    said = sorted({_said(one.seen) for one in answers})
    which = of_all(len(good), "host") if len(good) == len(by_host) else f"{len(good)} of {len(by_host)} hosts"
    verb = "answers" if len(good) == 1 else "answer"
    says = f"{which} {verb} from this machine with {' or '.join(said[:3])}; the CA asks from elsewhere"
    return [ok(PORT_80, says), *found]


def _silent(host: str, asked: list[Asked]) -> Iterator[Judged]:
    """An address that does not answer: a fault if none does and a CA would ask the same."""
    some_answer = any(one.answered for one in asked)
    for one in asked:
        if one.answered or (one.has_no_way and len(asked) > 1):
            continue
        certain = is_public(one.address) and not one.has_no_way and not some_answer
        says = f"{host}: {one.address} does not answer ({one.seen.detail})"
        says += "" if certain else "; a CA may not ask another" if some_answer else "; a CA may see more"
        yield (fail if certain else warn)(PORT_80, says, docs="docs/troubleshooting.md#connection")


def _said(seen: Seen) -> str:
    """ "404 by certjob", "a redirect"."""
    if seen.location is not None:
        return "a redirect"
    by = " by certjob" if seen.server == "certjob" else ""
    return f"{seen.status}{by}" if seen.status else "HTTP"


def _canonical(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return ""
