"""Where a TXT record belongs, and which servers have it: zones by SOA, CNAME chains, authoritative servers.

Only zone and server names are asked of recursive servers. The name of the TXT record itself is asked of its zone's
own servers: a recursive one would remember for a while that it does not exist (RFC 2308), and the CA may use that.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.message import Message
from dns.name import Name

from issuer_job.background import at_once
from issuer_job.issuers.schema import nameserver

LONGEST_CHAIN = 10
TIMEOUT = 2.0
"""Seconds for one answer."""
ROUNDS = 2
AUTHORITY_PORT = 53
MAX_SERVERS = 32
RESOLV_CONF = Path("/etc/resolv.conf")

Address = tuple[str, int]
"""IP address and port."""


class DnsLookupError(Exception):
    """DNS could not be asked, or says something that no TXT record can be placed by."""


class NoAnswer(DnsLookupError):
    """A server did not answer, or not as one that serves the zone."""


class Silent(NoAnswer):
    """A server did not answer at all."""


@dataclass(frozen=True)
class Place:
    """Where a TXT record belongs: a name in a zone (both without the final dot) and the zone's `servers`."""

    name: str
    zone: str
    servers: tuple[Address, ...]


@dataclass(frozen=True)
class Caa:
    """A CAA record (RFC 8659, section 4.1); `value` as it is."""

    flags: int
    tag: str
    value: str

    def __str__(self) -> str:
        return f'{self.flags} {self.tag} "{self.value}"'


@dataclass(frozen=True)
class Addresses:
    """What a name leads to: IP addresses of one family, and the `aliases` (CNAME) on the way.

    `exists`: there is such a name, perhaps without an address.
    """

    exists: bool
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass
class Lookup:
    """Asks `nameservers` (recursive; none: the pod's own) and authoritative servers. May be shared by threads.

    Remembers zones' servers, and which servers were silent: those are asked last, or not at all where others can be.
    No name is looked up any more when no `seconds_left` are left.
    """

    nameservers: tuple[Address, ...] = ()
    authority_port: int = field(default_factory=lambda: AUTHORITY_PORT)
    timeout: float = field(default_factory=lambda: TIMEOUT)
    seconds_left: Callable[[], float] = lambda: math.inf
    _servers: dict[Name, tuple[Address, ...]] = field(default_factory=dict)
    _silent: set[Address] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.nameservers = self.nameservers or configured(RESOLV_CONF.read_text())

    def addresses(self, name: str, *, v6: bool = False) -> Addresses:
        """What a recursive server says the name leads to. Raises DnsLookupError."""
        rdtype = dns.rdatatype.AAAA if v6 else dns.rdatatype.A
        answer = self._recursive(_name(name), rdtype)
        aliases = [_text(rrset[0].target) for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CNAME]
        found = [rdata.address for rrset in answer.answer if rrset.rdtype == rdtype for rdata in rrset]
        exists = bool(found) or answer.rcode() != dns.rcode.NXDOMAIN
        return Addresses(exists, tuple(found), tuple(aliases))

    def caa(self, name: str) -> tuple[Caa, ...]:
        """The CAA records of this very name, or of what it is an alias of; a recursive server follows those (RFC
        8659, section 3). Raises DnsLookupError.
        """
        answer = self._recursive(_name(name), dns.rdatatype.CAA)
        found = (rdata for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CAA for rdata in rrset)
        return tuple(
            Caa(rdata.flags, rdata.tag.decode("ascii", "replace"), rdata.value.decode("ascii", "replace"))
            for rdata in found
        )

    def place(self, name: str, *, zone: str = "", alias_zones: Iterable[str] = (), anywhere: bool = False) -> Place:
        """Where the TXT record that a CA looks for at `name` has to be: at the end of its CNAME chain.

        With `zone` no SOA is looked for within it. Whoever has the name decides where its alias leads, and so where a
        solver's credentials write: only within `zone` and `alias_zones`, and at challenge names where that does no
        harm, unless the credentials are good for single names: then it may lead `anywhere`. Raises DnsLookupError.
        """
        own = [_name(one) for one in (*alias_zones, *([zone] if zone else []))]
        given, chain = _name(zone) if zone else None, [_name(name)]
        while True:
            current = chain[-1]
            above = given if given is not None and current.is_subdomain(given) else self.zone_of(current.parent())
            above, target = self._alias(current, above)
            if target is None:
                break
            if target in chain:
                raise DnsLookupError(f"{name} is an alias that leads back to {_text(target)}")
            if len(chain) > LONGEST_CHAIN:
                raise DnsLookupError(f"{name} is an alias of more than {LONGEST_CHAIN} others in a row")
            chain.append(target)
        for_aliases = any(current.is_subdomain(one) for one in own)
        if given is not None and not for_aliases:
            raise DnsLookupError(f"{name} leads to {_text(current)}, which is not in the solver's zone {zone}")
        if len(chain) > 1 and not (for_aliases or anywhere or self._is_harmless(current, above)):
            raise DnsLookupError(
                f"{name} is an alias of {_text(current)}, where nothing is written: an operator can add its zone, if "
                f"that is for challenges alone, as {_text(current.parent())}, to the solver's aliasZones"
            )
        return Place(_text(current), _text(above), self.servers(above))

    def _is_harmless(self, name: Name, zone: Name) -> bool:
        """Whether it is a challenge name (RFC 8555, section 8.4), where nobody looks for anything else, and the name
        that it is for loses nothing by it: one that a wildcard stands for would exist from then on, without the
        wildcard's records (RFC 4592, section 2.2.2).
        """
        if name.labels[0].lower() != b"_acme-challenge":
            return False
        above = name.parent()
        return not above.is_subdomain(zone) or above == zone or not self._under_wildcard(above, zone)

    def zone_of(self, name: Name) -> Name:
        """The zone that the name is in, by its SOA record (RFC 2308, section 3). Raises DnsLookupError."""
        current = name
        while current != dns.name.root:
            answer = self._recursive(current, dns.rdatatype.SOA)
            if any(rrset.rdtype == dns.rdatatype.SOA and rrset.name == current for rrset in answer.answer):
                return current
            if not answer.answer:  # an alias would show the zone of its target
                for rrset in answer.authority:
                    zone = rrset.name
                    if rrset.rdtype == dns.rdatatype.SOA and current.is_subdomain(zone) and zone != dns.name.root:
                        return zone
            current = current.parent()
        raise DnsLookupError(f"no zone was found for {_text(name)}: is its domain registered and delegated?")

    def servers(self, zone: Name) -> tuple[Address, ...]:
        """Every address of the zone's servers; none if they are not in DNS. Raises DnsLookupError."""
        with self._lock:  # the others wait for the answer instead of asking, too
            if zone not in self._servers:
                answer = self._recursive(zone, dns.rdatatype.NS)
                names = [rdata.target for rrset in _of(answer.answer, zone, dns.rdatatype.NS) for rdata in rrset]
                self._servers[zone] = self._addresses(names)
            return self._servers[zone]

    def texts(self, server: Address, name: str) -> frozenset[str]:
        """The values of the TXT records that an authoritative server has. Raises NoAnswer."""
        answer = self._ask(server, _name(name), dns.rdatatype.TXT, recursive=False)
        if not answer.flags & dns.flags.AA:
            raise NoAnswer(f"{server[0]} does not serve {name}")
        rrsets = _of(answer.answer, _name(name), dns.rdatatype.TXT)
        return frozenset(b"".join(rdata.strings).decode("ascii", "replace") for rrset in rrsets for rdata in rrset)

    def _alias(self, name: Name, zone: Name) -> tuple[Name, Name | None]:
        """The zone that the name is in, which may begin at the name itself, and the target if it is an alias."""
        for _ in range(LONGEST_CHAIN):
            answer = self._of_zone(name, zone)
            for rrset in _of(answer.answer, name, dns.rdatatype.CNAME):
                target: Name = rrset[0].target
                return zone, None if self._by_wildcard(name, zone, target) else target
            cuts = [rrset.name for rrset in answer.authority if rrset.rdtype == dns.rdatatype.NS]
            below = [cut for cut in cuts if cut != zone and cut.is_subdomain(zone) and name.is_subdomain(cut)]
            if answer.flags & dns.flags.AA or not below:
                return zone, None
            zone = below[0]
        raise DnsLookupError(f"the zone of {_text(name)} was not found")

    def _by_wildcard(self, name: Name, zone: Name, target: Name) -> bool:
        """Whether the alias comes from a wildcard (RFC 4592): a TXT record at the name itself takes its place."""
        stranger = _stranger(name.parent())
        answer = self._of_zone(stranger, zone)
        return any(rrset[0].target == target for rrset in _of(answer.answer, stranger, dns.rdatatype.CNAME))

    def _under_wildcard(self, name: Name, zone: Name) -> bool:
        """Whether a wildcard answers for names beside it, and so perhaps for itself."""
        return self._of_zone(_stranger(name.parent()), zone).rcode() != dns.rcode.NXDOMAIN

    def _of_zone(self, name: Name, zone: Name) -> Message:
        for server in self.servers(zone):
            if server in self._silent:
                continue
            self._not_too_late(name)
            try:
                return self._ask(server, name, dns.rdatatype.CNAME, recursive=False)
            except NoAnswer:
                continue
        return self._recursive(name, dns.rdatatype.CNAME)

    def _recursive(self, name: Name, rdtype: dns.rdatatype.RdataType) -> Message:
        problem = "there is no recursive server"
        for server in sorted(self.nameservers, key=self._silent.__contains__) * ROUNDS:
            self._not_too_late(name)
            try:
                return self._ask(server, name, rdtype, recursive=True)
            except NoAnswer as no_answer:
                problem = str(no_answer)
        raise DnsLookupError(f"{_text(name)} could not be looked up: {problem}")

    def _ask(self, server: Address, name: Name, rdtype: dns.rdatatype.RdataType, *, recursive: bool) -> Message:
        """One question by UDP, by TCP if the answer was cut off. Raises NoAnswer."""
        flags = dns.flags.RD if recursive else dns.flags.Flag(0)
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232, flags=flags)
        address, port = server
        try:
            answer, _ = dns.query.udp_with_fallback(query, address, timeout=self.timeout, port=port)
        except (dns.exception.DNSException, OSError, EOFError) as problem:
            self._silent.add(server)
            raise Silent(f"{address}: {type(problem).__name__}") from None
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise NoAnswer(f"{address}: {dns.rcode.to_text(answer.rcode())}")
        return answer

    def _not_too_late(self, name: Name) -> None:
        if self.seconds_left() <= 0:
            raise DnsLookupError(f"{_text(name)} could not be looked up in time")

    def _addresses(self, names: list[Name]) -> tuple[Address, ...]:
        """A server whose address is not found counts for nothing: a CA cannot ask it either."""
        questions = [(name, kind) for name in names for kind in (dns.rdatatype.A, dns.rdatatype.AAAA)]

        def resolve(question: tuple[Name, dns.rdatatype.RdataType]) -> list[str]:
            try:
                answer = self._recursive(*question)
            except DnsLookupError:
                return []
            return [rdata.address for rrset in answer.answer if rrset.rdtype == question[1] for rdata in rrset]

        found = [address for addresses in at_once(resolve, questions) for address in addresses]
        return tuple((address, self.authority_port) for address in dict.fromkeys(found))[:MAX_SERVERS]


def configured(resolv_conf: str) -> tuple[Address, ...]:
    """The servers that a resolv.conf names."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = []
    for words in lines:
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(nameserver(words[1]))
            except ValueError:
                continue
    return tuple(found)


def _stranger(parent: Name) -> Name:
    """A name below `parent` that nobody has made."""
    return dns.name.Name((f"_certjob-{secrets.token_hex(4)}".encode(), *parent.labels))


def _of(rrsets: Iterable[dns.rrset.RRset], name: Name, rdtype: dns.rdatatype.RdataType) -> list[dns.rrset.RRset]:
    return [rrset for rrset in rrsets if rrset.name == name and rrset.rdtype == rdtype]


def _name(text: str) -> Name:
    return dns.name.from_text(text)


def _text(name: Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
