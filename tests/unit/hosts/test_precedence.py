"""Of two namespaces that name a host, which one may have it: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.askers import Asker
from issuer_job.hosts.precedence import Claim, Namers, judge_claim, overlap, wildcard_of
from issuer_job.record.record import SourceKind

T = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def claim(host: str, namespace: str, created: datetime = T, *, checked: datetime | None = None) -> Claim:
    return Claim(host, namespace, created, checked, names.claim(host))


def ingress(
    namespace: str, *hosts: str, created: datetime = T, generation: int = 1, tls: bool = False, **metadata: str
) -> Json:
    spec: Json = {"tls": [{"hosts": list(hosts)}]} if tls else {"rules": [{"host": host} for host in hosts]}
    known = {"name": "web", "namespace": namespace, "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"metadata": known | {"generation": generation} | metadata, "spec": spec}


def namers(*ingresses: Json, only: frozenset[str] | None = None) -> Namers:
    found = Namers(only=only)
    for body in ingresses:
        found.add(Asker(SourceKind.INGRESS, body))
    return found


@pytest.mark.parametrize(
    ("host", "wildcard"),
    [("a.x.dev", "*.x.dev"), ("a.b.x.dev", "*.b.x.dev"), ("*.x.dev", None), ("x.dev", None), ("internal", None)],
)
def test_the_wildcard_that_covers_a_host(host: str, wildcard: str | None) -> None:
    assert wildcard_of(host) == wildcard


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.x.dev", "a.x.dev", True),
        ("a.x.dev", "*.x.dev", True),
        ("a.b.x.dev", "*.x.dev", False),
        ("x.dev", "*.x.dev", False),
        ("*.b.x.dev", "*.x.dev", False),
        ("a.x.dev", "b.x.dev", False),
    ],
)
def test_which_hosts_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is expected


def test_a_claim_without_rivals_stands() -> None:
    mine = claim("a.x.dev", "one")
    assert judge_claim(mine, [], Namers()).stands
    assert judge_claim(mine, [claim("*.x.dev", "one", T - HOUR), claim("*.y.dev", "two", T - HOUR)], Namers()).stands


@pytest.mark.parametrize(("mine", "rival"), [("a.x.dev", "*.x.dev"), ("*.x.dev", "a.x.dev")])
def test_of_two_claims_that_overlap_the_older_stands(mine: str, rival: str) -> None:
    assert not judge_claim(claim(mine, "one"), [claim(rival, "two", T - SECOND)], Namers()).stands
    younger = claim(rival, "two", T + SECOND)
    judged = judge_claim(claim(mine, "one"), [younger], Namers())
    assert (judged.stands, judged.yielding) == (True, (younger,))


def test_what_was_checked_stands_against_what_is_older() -> None:
    rival = claim("*.x.dev", "two", T + HOUR, checked=T + HOUR)
    assert not judge_claim(claim("a.x.dev", "one"), [rival], Namers()).stands


def test_of_several_rivals_one_that_stands_is_enough() -> None:
    rivals = [claim("a.x.dev", "two", T + HOUR), claim("b.x.dev", "three", T - HOUR)]
    assert not judge_claim(claim("*.x.dev", "one"), rivals, Namers()).stands
    assert judge_claim(claim("*.x.dev", "one"), rivals[:1], Namers()).yielding == tuple(rivals[:1])


PAIRS = list(product((T - SECOND, T, T + SECOND), repeat=2))


@pytest.mark.parametrize(
    ("claimed", "made", "generations"),
    list(product(PAIRS, PAIRS, [(1, 1), (2, 1)])),
)
def test_never_two_of_two_namespaces_stand_whoever_looks(
    claimed: tuple[datetime, datetime], made: tuple[datetime, datetime], generations: tuple[int, int]
) -> None:
    one, two = claim("a.x.dev", "one", claimed[0]), claim("*.x.dev", "two", claimed[1])
    known = namers(
        ingress("one", "a.x.dev", created=made[0], generation=generations[0]),
        ingress("two", "*.x.dev", created=made[1], generation=generations[1]),
    )
    stand = [judge_claim(one, [two], known).stands, judge_claim(two, [one], known).stands]
    assert sum(stand) <= 1
    if generations == (1, 1):
        assert sum(stand) == 1, "of Ingresses that show their age exactly one stands, ties included"


def test_a_tie_of_three_goes_the_same_way_for_everybody() -> None:
    three = [claim("a.x.dev", "one"), claim("*.x.dev", "two"), claim("b.x.dev", "three")]
    winners = set()
    for mine, *rivals in permutations(three):
        if judge_claim(mine, rivals, Namers()).stands:
            winners.add(mine.namespace)
    assert winners in ({"two"}, {"one", "three"}, {"one"}, {"three"})
    assert not {"one", "two"} <= winners
    assert not {"three", "two"} <= winners


@pytest.mark.parametrize("named", ["a.x.dev", "A.X.dev.", "*.x.dev"])
@pytest.mark.parametrize("tls", [False, True], ids=["rules", "tls"])
def test_an_older_ingress_of_another_namespace_goes_first(named: str, tls: bool) -> None:
    theirs = namers(ingress("two", named, created=T - SECOND, tls=tls))
    assert not judge_claim(claim("a.x.dev", "one"), [], theirs).stands
    assert judge_claim(claim("a.x.dev", "two"), [], theirs).stands
    assert judge_claim(claim("b.y.dev", "one"), [], theirs).stands


def test_below_a_wildcard_too() -> None:
    theirs = namers(ingress("two", "a.x.dev", created=T - SECOND), ingress("three", "a.b.x.dev", created=T - HOUR))
    assert not judge_claim(claim("*.x.dev", "one"), [], theirs).stands
    assert judge_claim(claim("*.x.dev", "two"), [], theirs).stands


@pytest.mark.parametrize("created", [T, T + SECOND])
def test_one_of_the_same_second_or_later_does_not(created: datetime) -> None:
    assert judge_claim(claim("a.x.dev", "one"), [], namers(ingress("two", "a.x.dev", created=created))).stands


def test_one_that_is_being_deleted_wants_nothing() -> None:
    going = ingress("two", "a.x.dev", created=T - HOUR, deletionTimestamp="2026-03-01T11:59:59Z")
    assert judge_claim(claim("a.x.dev", "one"), [], namers(going)).stands


def test_certjobs_own_routes_do_not_count() -> None:
    assert judge_claim(claim("a.x.dev", "one"), [], namers(ingress(v.NAMESPACE, "a.x.dev", created=T - HOUR))).stands


def test_an_own_ingress_that_is_older_still_and_never_changed_goes_first() -> None:
    theirs = ingress("two", "a.x.dev", created=T - HOUR)
    mine = ingress("one", "a.x.dev", created=T - 2 * HOUR)
    assert judge_claim(claim("a.x.dev", "one"), [], namers(theirs, mine)).stands
    assert not judge_claim(claim("a.x.dev", "two"), [], namers(theirs, mine)).stands


@pytest.mark.parametrize(("generation", "contested"), [(1, False), (2, True)])
def test_a_claim_that_falls_for_what_cannot_be_shown_is_contested(generation: int, contested: bool) -> None:
    theirs = namers(ingress("two", "a.x.dev", created=T - HOUR, generation=generation))
    judged = judge_claim(claim("a.x.dev", "one"), [], theirs)
    assert (judged.stands, judged.contested) == (False, contested)
    rival = claim("*.x.dev", "two", T - HOUR, checked=T)
    assert not judge_claim(claim("a.x.dev", "one"), [rival], theirs).contested


def test_nobody_writes_a_host_into_an_old_ingress_to_be_the_older_one() -> None:
    served_all_along = ingress("victim", "bank.x.dev", created=T - HOUR)
    old_and_edited_today = ingress("attacker", "bank.x.dev", created=T - 1000 * HOUR, generation=2)
    assert not judge_claim(claim("bank.x.dev", "attacker"), [], namers(served_all_along, old_and_edited_today)).stands


def test_what_is_not_kept_makes_no_difference() -> None:
    wanted = frozenset({"a.x.dev", "*.y.dev"})
    every = [
        ingress("two", host, created=T - HOUR)
        for host in ("a.x.dev", "*.x.dev", "b.y.dev", "*.y.dev", "b.x.dev", "z.dev")
    ]
    kept = namers(*every, only=wanted)
    for body in every:
        for host in wanted:
            near = overlap(host, body["spec"]["rules"][0]["host"])
            alone = namers(body, only=wanted)
            assert alone.somebody_was_there("one", host, claimed=T) is near
    assert ("two", "a.x.dev") in kept
    assert ("two", "b.x.dev") not in kept


@pytest.mark.parametrize("word", ["true", "2026-03-01T12:00:00", "yesterday", ""])
def test_a_mark_by_hand_counts_whatever_it_says(word: str) -> None:
    metadata = {"name": "c", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-03-01T12:00:00Z"}
    body = {"metadata": metadata | {"annotations": {v.CHECKED: word}}, "data": {"host": "a.dev", "namespace": "one"}}
    assert Claim.from_config_map(body).checked == T
