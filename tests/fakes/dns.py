"""DNS servers on loopback addresses: authoritative ones that know their zones, and one that asks them all.

    with fake_dns() as world:
        world.zone("example.org", servers=["127.0.0.2", "127.0.0.3"])
        world.set("www.example.org", "A", "192.0.2.1")
        Lookup((world.recursive,), authority_port=world.port)

Records of a zone are what its servers say, but for TXT: each server has its own, so that one may lag behind.
"""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.message import Message
from dns.name import Name

RECURSIVE = "127.0.0.1"
_ASK = dns.query.udp_with_fallback
ADDRESSES = (RECURSIVE, "127.0.0.2", "127.0.0.3", "127.0.0.4")


@dataclass
class FakeDns:
    """What its servers know. `asked` are address, name and type of every question that was answered."""

    port: int
    records: dict[tuple[Name, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[tuple[str, Name], set[str]] = field(default_factory=lambda: defaultdict(set))
    zones: dict[Name, tuple[str, ...]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    waits: bool = False
    """Whether who asks a silent server waits for its answer. Otherwise the time is up at once."""
    truncated: bool = False
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    """Addresses of silent servers, for every question that they were asked by UDP."""

    @property
    def recursive(self) -> tuple[str, int]:
        """The server that knows everything."""
        return RECURSIVE, self.port

    def zone(self, name: str, *, servers: list[str]) -> None:
        """A zone with NS and address records for its servers."""
        origin = dns.name.from_text(name)
        self.zones[origin] = tuple(servers)
        name = name.removesuffix(".")
        self.records[origin, "SOA"] = [f"ns.{name or 'root'}. hostmaster.{name or 'root'}. 1 1 1 1 1"]
        for number, address in enumerate(servers):
            self.records[origin, "NS"].append(f"ns{number}.{name or 'root'}.")
            self.set(f"ns{number}.{name or 'root'}", "A", address)

    def set(self, name: str, kind: str, *data: str) -> None:
        """Replace the records of a name and type; `*.` makes a wildcard."""
        self.records[dns.name.from_text(name), kind] = list(data)

    def add_text(self, name: str, value: str, *, servers: tuple[str, ...] = ADDRESSES) -> None:
        """A TXT value."""
        for address in servers:
            self.texts[address, dns.name.from_text(name)].add(value)

    def remove_text(self, name: str, value: str) -> None:
        """From all servers."""
        for address in ADDRESSES:
            self.texts[address, dns.name.from_text(name)].discard(value)

    def values(self, name: str) -> set[str]:
        """TXT values of any server."""
        return set().union(*(self.texts[address, dns.name.from_text(name)] for address in ADDRESSES))

    def ask(self, query: Message, where: str, *, timeout: float, port: int) -> tuple[Message, bool]:
        """See dns.query.udp_with_fallback."""
        if where in self.silent and not self.waits:
            self.unanswered.append(where)
            raise dns.exception.Timeout(timeout=timeout)
        return _ASK(query, where, timeout, port)

    def answer(self, address: str, query: Message) -> Message:
        """What the server with this address says."""
        question = query.question[0]
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        self.asked.append((address, name.to_text(omit_final_dot=True), kind))
        answer = dns.message.make_response(query)
        recursive = bool(query.flags & dns.flags.RD) and address == RECURSIVE
        zone = self._zone(name)
        if zone is None:
            answer.set_rcode(dns.rcode.SERVFAIL if recursive else dns.rcode.REFUSED)
            return answer
        if not recursive and address not in self.zones[zone]:
            above = self._zone(zone.parent())
            if above is None or address not in self.zones[above]:
                answer.set_rcode(dns.rcode.REFUSED)
            else:
                self._put(answer.authority, zone, "NS", self.records[zone, "NS"])
            return answer
        if not recursive:
            answer.flags |= dns.flags.AA
        self._fill(answer, address, name, kind, follow=recursive)
        return answer

    def _fill(self, answer: Message, address: str, name: Name, kind: str, *, follow: bool) -> None:
        data = self._data(address, name, kind)
        alias = self._data(address, name, "CNAME")
        if data:
            self._put(answer.answer, name, kind, data)
        elif alias and kind != "CNAME":
            self._put(answer.answer, name, "CNAME", alias)
            if follow and self._zone(dns.name.from_text(alias[0])) is not None:
                self._fill(answer, address, dns.name.from_text(alias[0]), kind, follow=follow)
        else:
            zone = self._zone(name)
            if zone is not None:
                self._put(answer.authority, zone, "SOA", self.records[zone, "SOA"])
            near = {name, _wildcard(name)}
            known = any(data and any(map(other.is_subdomain, near)) for (other, _), data in self.records.items())
            if not known and not self._data(address, name, "TXT"):
                answer.set_rcode(dns.rcode.NXDOMAIN)

    def _data(self, address: str, name: Name, kind: str) -> list[str]:
        if kind == "TXT" and self.texts[address, name]:
            return [f'"{value[:10]}" "{value[10:]}"' for value in sorted(self.texts[address, name])]
        if data := self.records.get((name, kind)):
            return data
        exists = any(other == name and data for (other, _), data in self.records.items())
        return [] if exists or self.texts[address, name] else self.records.get((_wildcard(name), kind), [])

    def _zone(self, name: Name) -> Name | None:
        found = [zone for zone in self.zones if name.is_subdomain(zone)]
        return max(found, key=len, default=None)

    def _put(self, section: list[dns.rrset.RRset], name: Name, kind: str, data: list[str]) -> None:
        section.append(dns.rrset.from_text_list(name, 60, "IN", kind, data))


def _wildcard(name: Name) -> Name:
    """The one directly beside the name."""
    return dns.name.Name((b"*", *name.parent().labels)) if len(name) > 1 else name


@contextmanager
def fake_dns() -> Iterator[FakeDns]:
    """Run the servers."""
    udp, tcp = _sockets()
    world = FakeDns(udp[0].getsockname()[1])
    threads = [threading.Thread(target=_serve_udp, args=(world, one), daemon=True) for one in udp]
    threads += [threading.Thread(target=_serve_tcp, args=(world, one), daemon=True) for one in tcp]
    for thread in threads:
        thread.start()
    try:
        with patch.object(dns.query, "udp_with_fallback", world.ask):
            yield world
    finally:
        for one in (*udp, *tcp):
            one.shutdown(socket.SHUT_RDWR) if one in tcp else _wake(one)
        for thread in threads:
            thread.join()
        for one in (*udp, *tcp):
            one.close()


def _sockets() -> tuple[list[socket.socket], list[socket.socket]]:
    """One port that is free on all addresses, for both protocols."""
    while True:
        made: list[socket.socket] = []
        port = 0
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                for address in ADDRESSES:
                    one = socket.socket(socket.AF_INET, kind)
                    made.append(one)
                    one.bind((address, port))
                    port = port or one.getsockname()[1]
                    if kind is socket.SOCK_STREAM:
                        one.listen()
        except OSError:
            for one in made:
                one.close()
            continue
        return made[: len(ADDRESSES)], made[len(ADDRESSES) :]


def _wake(one: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"", one.getsockname())


def _serve_udp(world: FakeDns, one: socket.socket) -> None:
    address = one.getsockname()[0]
    while True:
        data, client = one.recvfrom(4096)
        if not data:
            return
        if address in world.silent:
            world.unanswered.append(address)
            continue
        answer = world.answer(address, dns.message.from_wire(data))
        if world.truncated:
            answer.flags |= dns.flags.TC
            answer.answer = []
        one.sendto(answer.to_wire(), client)


def _serve_tcp(world: FakeDns, one: socket.socket) -> None:
    address = one.getsockname()[0]
    while True:
        try:
            connection, _ = one.accept()
        except OSError:
            return
        with connection:
            length = int.from_bytes(connection.recv(2), "big")
            answer = world.answer(address, dns.message.from_wire(connection.recv(length))).to_wire()
            connection.sendall(len(answer).to_bytes(2, "big") + answer)
