"""Zones, CNAME chains and authoritative servers, asked of servers on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.name
import pytest

from issuer_job.dns01.lookup import LONGEST_CHAIN, DnsLookupError, Lookup, NoAnswer, configured
from tests.fakes.dns import FakeDns, fake_dns

ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
NAME = "_acme-challenge.www.example.org"


@pytest.fixture
def world() -> Iterator[FakeDns]:
    with fake_dns() as made:
        made.zone("example.org", servers=[ONE, TWO])
        made.set("www.example.org", "A", "192.0.2.1")
        yield made


@pytest.fixture
def lookup(world: FakeDns) -> Lookup:
    return Lookup((world.recursive,), authority_port=world.port)


def zone_of(lookup: Lookup, name: str) -> str:
    return lookup.zone_of(dns.name.from_text(name)).to_text(omit_final_dot=True)


@pytest.mark.parametrize("name", ["example.org", "www.example.org", "a.b.missing.example.org"])
def test_the_zone_is_where_the_soa_record_is(lookup: Lookup, name: str) -> None:
    assert zone_of(lookup, name) == "example.org"


def test_a_zone_below_another_is_found(world: FakeDns, lookup: Lookup) -> None:
    world.zone("dev.example.org", servers=[THREE])
    assert zone_of(lookup, "x.dev.example.org") == "dev.example.org"


def test_an_alias_does_not_show_its_targets_zone(world: FakeDns, lookup: Lookup) -> None:
    world.zone("cdn.example", servers=[THREE])
    world.set("shop.example.org", "CNAME", "edge.cdn.example.")
    world.set("edge.cdn.example", "A", "192.0.2.2")
    assert zone_of(lookup, "shop.example.org") == "example.org"


def test_an_alias_out_of_a_zone_into_the_one_above_does_not_show_that_one(world: FakeDns, lookup: Lookup) -> None:
    world.zone("dev.example.org", servers=[THREE])
    world.set("shop.dev.example.org", "CNAME", "edge.example.org.")
    assert zone_of(lookup, "shop.dev.example.org") == "dev.example.org"


def test_the_root_is_no_zone_to_write_to(world: FakeDns, lookup: Lookup) -> None:
    world.zone(".", servers=[THREE])
    with pytest.raises(DnsLookupError, match="registered"):
        zone_of(lookup, "nothing.invalid")


def test_a_place_has_every_address_of_the_zones_servers(world: FakeDns, lookup: Lookup) -> None:
    place = lookup.place(NAME)
    assert (place.name, place.zone) == (NAME, "example.org")
    assert set(place.servers) == {(ONE, world.port), (TWO, world.port)}


def test_the_name_itself_is_never_asked_of_a_recursive_server(world: FakeDns, lookup: Lookup) -> None:
    lookup.place(NAME)
    assert NAME in {name for _, name, _ in world.asked}
    assert not [one for one in world.asked if one[0] == world.recursive[0] and one[1] == NAME]


def test_a_chain_of_aliases_is_followed_to_its_end(world: FakeDns, lookup: Lookup) -> None:
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", "middle.example.org.")
    world.set("middle.example.org", "CNAME", "Target.Deleg.example.")
    place = lookup.place(NAME, alias_zones=["Deleg.example"])
    assert (place.name, place.zone, place.servers) == (
        "target.deleg.example",
        "deleg.example",
        ((THREE, world.port),),
    )


def test_aliases_in_a_circle_are_an_error(world: FakeDns, lookup: Lookup) -> None:
    world.set(NAME, "CNAME", "back.example.org.")
    world.set("back.example.org", "CNAME", f"{NAME}.")
    with pytest.raises(DnsLookupError, match="leads back"):
        lookup.place(NAME)


def test_too_many_aliases_are_an_error(world: FakeDns, lookup: Lookup) -> None:
    world.set(NAME, "CNAME", "a0.example.org.")
    for number in range(LONGEST_CHAIN + 1):
        world.set(f"a{number}.example.org", "CNAME", f"a{number + 1}.example.org.")
    with pytest.raises(DnsLookupError, match="in a row"):
        lookup.place(NAME)


def test_a_wildcard_alias_is_not_followed(world: FakeDns, lookup: Lookup) -> None:
    world.set("*.www.example.org", "CNAME", "balancer.example.org.")
    assert lookup.place(NAME).name == NAME


def test_a_zone_that_begins_at_the_name_itself_is_found(world: FakeDns, lookup: Lookup) -> None:
    world.zone(NAME, servers=[THREE])
    place = lookup.place(NAME)
    assert (place.name, place.zone, place.servers) == (NAME, NAME, ((THREE, world.port),))


def test_a_given_zone_is_not_looked_for(world: FakeDns, lookup: Lookup) -> None:
    place = lookup.place(NAME, zone="example.org")
    assert (place.name, place.zone) == (NAME, "example.org")
    assert not [one for one in world.asked if one[2] == "SOA"]


def test_an_alias_out_of_the_given_zone_is_an_error(world: FakeDns, lookup: Lookup) -> None:
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", "target.deleg.example.")
    with pytest.raises(DnsLookupError, match="not in the solver's zone"):
        lookup.place(NAME, zone="example.org")


def test_a_given_zone_may_be_the_aliases_target(world: FakeDns, lookup: Lookup) -> None:
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", "target.deleg.example.")
    assert lookup.place(NAME, zone="deleg.example").name == "target.deleg.example"


@pytest.mark.exhaustive
@pytest.mark.parametrize("zones", [(), ("other.example",), ("eleg.example",)])
@pytest.mark.parametrize("target", ["x.www.victim.deleg.example", "x.deleg.example", "acme-challenge.deleg.example"])
def test_an_alias_writes_nowhere_but_where_the_operator_lets_it(
    world: FakeDns, lookup: Lookup, target: str, zones: tuple[str, ...]
) -> None:
    """Who has the name may be a tenant, and the credentials are good for all of the operator's zones."""
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", f"{target}.")
    with pytest.raises(DnsLookupError, match=rf"an alias of {target}, where nothing is written.* aliasZones"):
        lookup.place(NAME, alias_zones=zones)
    assert lookup.place(NAME, alias_zones=(*zones, "deleg.example")).name == target
    assert lookup.place(NAME, alias_zones=zones, anywhere=True).name == target


def test_an_alias_zone_counts_beside_the_given_one(world: FakeDns, lookup: Lookup) -> None:
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", "target.deleg.example.")
    place = lookup.place(NAME, zone="example.org", alias_zones=["deleg.example"])
    assert (place.name, place.zone) == ("target.deleg.example", "deleg.example")


@pytest.mark.parametrize("name", ["_acme-challenge.shop.deleg.example", "_ACME-challenge.deleg.example"])
def test_an_alias_to_another_challenge_name_is_followed(world: FakeDns, lookup: Lookup, name: str) -> None:
    world.zone("deleg.example", servers=[THREE])
    world.set(NAME, "CNAME", f"{name}.")
    assert lookup.place(NAME).name == name.lower()


def test_an_alias_takes_no_wildcard_away_from_others(world: FakeDns, lookup: Lookup) -> None:
    """With a TXT record below it, `www` would exist, and the wildcard's address would not be its own any more."""
    world.zone("deleg.example", servers=[THREE])
    world.set("*.deleg.example", "A", "192.0.2.7")
    world.set(NAME, "CNAME", "_acme-challenge.www.deleg.example.")
    with pytest.raises(DnsLookupError, match="where nothing is written"):
        lookup.place(NAME)
    assert lookup.place(NAME, alias_zones=["deleg.example"]).name == "_acme-challenge.www.deleg.example"
    world.set(NAME, "CNAME", "_acme-challenge.deleg.example.")
    assert lookup.place(NAME).name == "_acme-challenge.deleg.example"


def test_where_no_authoritative_server_answers_the_recursive_one_is_asked(world: FakeDns, lookup: Lookup) -> None:
    world.silent = {ONE, TWO}
    assert lookup.place(NAME).zone == "example.org"


def test_the_next_recursive_server_is_asked_when_one_is_silent(world: FakeDns) -> None:
    world.silent = {THREE}
    lookup = Lookup(((THREE, world.port), world.recursive), authority_port=world.port)
    assert lookup.place(NAME).zone == "example.org"


def test_silence_of_all_recursive_servers_is_an_error(world: FakeDns) -> None:
    world.silent, world.waits = {world.recursive[0]}, True
    lookup = Lookup((world.recursive,), authority_port=world.port, timeout=0.02)
    with pytest.raises(DnsLookupError, match="could not be looked up"):
        lookup.place(NAME)


def test_silent_servers_are_not_asked_for_every_name(world: FakeDns) -> None:
    world.silent = {ONE, TWO, THREE}
    lookup = Lookup(((THREE, world.port), world.recursive), authority_port=world.port)
    for number in range(5):
        assert lookup.place(f"_acme-challenge.h{number}.example.org").zone == "example.org"
    assert sorted(world.unanswered) == [ONE, TWO, THREE]


def test_a_zones_servers_are_looked_up_once_by_all_threads(world: FakeDns, lookup: Lookup) -> None:
    names = [f"_acme-challenge.h{number}.example.org" for number in range(8)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert {place.zone for place in pool.map(lookup.place, names)} == {"example.org"}
    assert [kind for _, _, kind in world.asked].count("NS") == 1


def test_no_name_is_looked_up_when_no_time_is_left(world: FakeDns) -> None:
    lookup = Lookup((world.recursive,), authority_port=world.port, seconds_left=lambda: 0)
    with pytest.raises(DnsLookupError, match="in time"):
        lookup.place(NAME)
    assert world.asked == []


def test_values_are_put_together_from_their_strings(world: FakeDns, lookup: Lookup) -> None:
    world.add_text(NAME, "a" * 43)
    world.add_text(NAME, "b" * 43)
    assert lookup.texts((ONE, world.port), NAME) == {"a" * 43, "b" * 43}


def test_no_such_name_means_no_values(world: FakeDns, lookup: Lookup) -> None:
    assert lookup.texts((ONE, world.port), NAME) == frozenset()


def test_a_long_answer_comes_by_tcp(world: FakeDns, lookup: Lookup) -> None:
    world.add_text(NAME, "a" * 43)
    world.truncated = True
    assert lookup.texts((ONE, world.port), NAME) == {"a" * 43}


def test_a_server_that_does_not_serve_the_zone_gives_no_answer(world: FakeDns, lookup: Lookup) -> None:
    with pytest.raises(NoAnswer, match="REFUSED"):
        lookup.texts((THREE, world.port), NAME)


def test_a_server_that_refers_to_others_gives_no_answer(world: FakeDns, lookup: Lookup) -> None:
    world.zone(NAME, servers=[THREE])
    with pytest.raises(NoAnswer, match="does not serve"):
        lookup.texts((ONE, world.port), NAME)


def test_the_pods_own_servers_are_read() -> None:
    text = "search shop.svc.cluster.local\nnameserver 10.96.0.10\nnameserver nonsense\nnameserver\noptions ndots:5\n"
    assert configured(text) == (("10.96.0.10", 53),)
