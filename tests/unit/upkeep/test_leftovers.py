"""Routes, challenges and pending keys that no attempt needs any more, and those that one does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Cluster, Response
from issuer_job.http01 import routes
from issuer_job.http01.solver import challenge_body
from issuer_job.issuers.schema import Issuer
from issuer_job.polling import utc_now
from issuer_job.record.record import HistoryEntry, IngressClass, Phase, Record
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.upkeep import leftovers
from tests.fakes.api import FakeApi, status
from tests.worlds.job import HOST
from tests.worlds.samples import NOW, attempt, record, source

ISSUER = Issuer(server="https://ca.dev/dir")
NGINX = IngressClass(field="nginx")
ROUTE = names.route(NGINX.identity, HOST)


def present() -> int:
    """The epoch of an attempt that is launched now."""
    return int(utc_now().timestamp())


class Raced(FakeApi):
    """Somebody else does something just before the first deletion arrives."""

    before_delete: Callable[[], None] | None = None

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method == "DELETE" and self.before_delete is not None:
            act, self.before_delete = self.before_delete, None
            act()
        return super().send(method, path, body=body, timeout=timeout)


class World:
    """Records, routes and challenges in a cluster; `records` is what a sweep has listed."""

    def __init__(self) -> None:
        self.api = Raced()
        self.cluster = Cluster(self.api)
        self.records: list[Record] = []

    def record(
        self, phase: Phase = Phase.AUTHORIZING, *, secret: str = "web-tls", epoch: int | None = None
    ) -> Record:
        """Stored and listed."""
        epoch = present() if epoch is None else epoch
        made = record(phase, sources=(source(hosts=(HOST,), ingress_class=NGINX),), attempt=attempt(epoch=epoch))
        stored = self.store(replace(made, secret_name=secret, uid="", resource_version=""))
        self.records.append(stored)
        return stored

    def store(self, changed: Record) -> Record:
        return from_config_map(self.api.add(CONFIGMAPS, v.NAMESPACE, to_config_map(changed)))

    def route(self, *holders: Record, host: str = HOST, ingress_class: IngressClass = NGINX) -> None:
        for holder in holders:
            routes.join_route(self.cluster, holder, host, ingress_class, ISSUER)

    def age_route(self) -> None:
        """Made long ago."""
        stored = self.api.stored(INGRESSES, v.NAMESPACE, ROUTE)
        assert stored is not None
        self.api.remove(INGRESSES, v.NAMESPACE, ROUTE)
        stored["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        made = self.api.add(INGRESSES, v.NAMESPACE, stored)
        assert made["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"

    def challenge(self, holder: Record) -> None:
        self.api.add(CONFIGMAPS, v.NAMESPACE, challenge_body(holder, {"token": "key"}))

    def clean(self, *, after: timedelta = timedelta(minutes=10)) -> dict[str, int]:
        """What was released, and nothing that was not written."""
        counted = leftovers.release_leftovers(self.cluster, self.records, now=utc_now() + after)
        return {what: number for what, number in counted.items() if number}

    def holders(self, host: str = HOST, ingress_class: IngressClass = NGINX) -> set[str]:
        found = self.api.stored(INGRESSES, v.NAMESPACE, names.route(ingress_class.identity, host))
        if found is None:
            return set()
        hashes = {k.removeprefix(v.EPOCH_PREFIX) for k in found["metadata"]["annotations"] if v.EPOCH_PREFIX in k}
        assert len(found["metadata"]["ownerReferences"]) == len(hashes)
        return {o["name"].partition(".")[2] for o in found["metadata"]["ownerReferences"]}

    def challenges(self) -> list[str]:
        return [c["metadata"]["name"] for c in self.api.all(CONFIGMAPS) if v.CHALLENGE in c["metadata"]["labels"]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("phase", [Phase.LAUNCHED, Phase.CLAIMED, Phase.AUTHORIZING, Phase.INSTALLING])
def test_what_an_active_attempt_holds_stays_and_nothing_is_written_or_looked_up(world: World, phase: Phase) -> None:
    held = world.record(phase)
    world.route(held)
    world.challenge(held)
    before = len(world.api.requests)
    assert world.clean() == {}
    assert (world.holders(), len(world.challenges())) == ({"web-tls"}, 1)
    assert [r.method for r in world.api.requests[before:]] == ["GET", "GET"]


@pytest.mark.parametrize("phase", [Phase.ISSUED, Phase.WAITING, Phase.FAILED, Phase.ORPHANED, Phase.RETIRED])
def test_an_attempt_that_is_over_holds_nothing(world: World, phase: Phase) -> None:
    over = world.record(phase)
    world.route(over)
    world.challenge(over)
    assert world.clean() == {"routes released": 1, "challenges deleted": 1}
    assert (world.holders(), world.challenges()) == (set(), [])


def test_an_earlier_attempt_holds_nothing(world: World) -> None:
    early = world.record(epoch=present() - 1)
    world.route(early)
    world.challenge(early)
    world.records = [world.store(replace(early, attempt=attempt(epoch=present())))]
    assert world.clean() == {"routes released": 1, "challenges deleted": 1}


def test_a_record_that_is_gone_holds_nothing(world: World) -> None:
    gone = world.record()
    world.route(gone)
    world.challenge(gone)
    world.api.remove(CONFIGMAPS, v.NAMESPACE, gone.name)
    world.records = []
    assert world.clean() == {"routes released": 1, "challenges deleted": 1}


def test_what_is_younger_than_two_minutes_stays(world: World) -> None:
    over = world.record(Phase.WAITING)
    world.route(over)
    world.challenge(over)
    assert world.clean(after=timedelta(seconds=110)) == {}
    assert world.clean(after=timedelta(seconds=130)) == {"routes released": 1, "challenges deleted": 1}


def test_what_an_old_attempt_made_just_now_stays(world: World) -> None:
    """Its pod waited long for a place, and may just be giving everything back itself."""
    over = world.record(Phase.WAITING, epoch=present() - 600)
    world.route(over)
    world.challenge(over)
    assert world.clean(after=timedelta(seconds=100)) == {}


def test_a_young_attempt_on_an_old_route_keeps_it_without_a_look_at_its_record(world: World) -> None:
    over = world.record(Phase.WAITING)
    world.route(over)
    world.age_route()
    before = len(world.api.requests)
    assert world.clean(after=timedelta(seconds=100)) == {}
    assert len(world.api.requests) - before == 2


def test_a_young_hold_stays_when_another_one_is_taken_off(world: World) -> None:
    early, late = world.record(Phase.WAITING, epoch=present() - 600), world.record(Phase.WAITING, secret="other-tls")
    world.route(early, late)
    world.age_route()
    assert world.clean(after=timedelta(seconds=100)) == {"routes released": 1}
    assert world.holders() == {"other-tls"}


def test_the_others_keep_their_route(world: World) -> None:
    over, active = world.record(Phase.WAITING), world.record(secret="other-tls")
    world.route(over, active)
    assert world.clean() == {"routes released": 1}
    assert world.holders() == {"other-tls"}
    assert world.clean() == {}


def test_a_hold_of_a_record_that_is_gone_leaves_the_others_their_route(world: World) -> None:
    gone, active = world.record(secret="gone-tls"), world.record()
    world.route(gone, active)
    world.api.remove(CONFIGMAPS, v.NAMESPACE, gone.name)
    world.records = [active]
    assert world.clean() == {"routes released": 1}
    assert world.holders() == {"web-tls"}


def test_a_host_that_left_the_record(world: World) -> None:
    held = world.record()
    world.route(held)
    world.route(held, host="old.certjob.dev")
    world.route(held, ingress_class=IngressClass(annotation="nginx"))
    assert world.clean() == {"routes released": 2}
    assert world.holders() == {"web-tls"}


def test_an_attempt_launched_after_the_records_were_listed_keeps_everything(world: World) -> None:
    listed = world.record(Phase.WAITING, epoch=present() - 100)
    active = world.store(replace(listed, phase=Phase.AUTHORIZING, attempt=attempt(epoch=present())))
    world.route(active)
    world.challenge(active)
    assert world.clean() == {}
    assert world.holders() == {"web-tls"}


def test_a_record_made_after_the_records_were_listed_keeps_everything(world: World) -> None:
    new = world.record()
    world.route(new)
    world.challenge(new)
    world.records = []
    assert world.clean() == {}


def test_a_record_that_cannot_be_read_keeps_everything(world: World) -> None:
    later = world.record()
    world.route(later)
    world.challenge(later)
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, later.name)
    assert stored is not None
    world.api.add(CONFIGMAPS, v.NAMESPACE, stored | {"data": {v.RECORD_KEY: "of a later version"}})
    world.records = []
    assert world.clean() == {}


def test_who_joins_meanwhile_keeps_the_route(world: World) -> None:
    over, joining = world.record(Phase.WAITING), world.record(secret="other-tls")
    world.route(over)
    world.records = [over]

    world.api.before_delete = lambda: world.route(joining)
    assert world.clean() == {}
    assert world.holders() == {"web-tls", "other-tls"}


def test_routes_are_deleted_as_they_were_read(world: World) -> None:
    over = world.record(Phase.WAITING)
    world.route(over)
    world.challenge(over)
    world.clean()
    deleted = [r.body["preconditions"].keys() for r in world.api.requests if r.method == "DELETE" and r.body]
    assert deleted == [{"uid", "resourceVersion"}] * 2


@pytest.mark.parametrize("kind", ["ingresses", "configmaps"])
def test_a_list_that_expires_leaves_the_rest_to_the_next_pass(world: World, kind: str) -> None:
    over = world.record(Phase.WAITING)
    world.route(over)
    world.challenge(over)
    world.api.fail("GET", f"/{kind}[?]", status(410, "Expired", "too old"))
    assert sum(world.clean().values()) == 1
    assert sum(world.clean().values()) == 1


# Pending keys.

HOUR = timedelta(hours=1)


def history(*ages: timedelta, phase: Phase = Phase.ISSUED, pending: str = "") -> Record:
    """Launched at those times before NOW, the last attempt's epoch being the current one."""
    entries = tuple(
        HistoryEntry(at=NOW - age, epoch=int((NOW - age).timestamp()), event="launched")
        for age in sorted(ages, reverse=True)
    )
    return record(phase, attempt=attempt(epoch=entries[-1].epoch, pending_key=pending), history=entries)


def named(*ages: timedelta) -> list[str]:
    """By the record's uid, and by its hash as 0.1.0 did."""
    return [key(age, uid) for age in ages for uid in (record().uid, record().old_hash)]


def key(age: timedelta, uid: str = record().uid) -> str:
    return names.pending_key(uid, int((NOW - age).timestamp()))


@pytest.mark.parametrize(
    ("age", "left"),
    [(HOUR * 0.9, False), (HOUR * 1.1, True), (HOUR * 2.4, True), (HOUR * 2.6, False)],
)
def test_a_key_is_left_over_between_one_and_two_and_a_half_hours(age: timedelta, left: bool) -> None:
    assert leftovers.leftover_keys(history(age), now=NOW) == (named(age) if left else [])


def test_every_key_has_its_turn_in_an_hourly_look() -> None:
    made = history(timedelta(0))
    for minutes in range(60):
        looks = [NOW + timedelta(minutes=minutes + 60 * number) for number in range(5)]
        assert any(leftovers.leftover_keys(made, now=look) for look in looks)


def test_the_key_that_the_record_refers_to_stays() -> None:
    waiting = history(2 * HOUR, phase=Phase.WAITING, pending=key(2 * HOUR))
    assert leftovers.leftover_keys(waiting, now=NOW) == named(2 * HOUR)[1:]


def test_the_key_of_an_active_attempt_stays_although_it_is_not_written_down_yet() -> None:
    assert leftovers.leftover_keys(history(2 * HOUR, phase=Phase.AUTHORIZING), now=NOW) == []


def test_an_inherited_key_is_left_over_after_the_attempt_that_used_it() -> None:
    assert leftovers.leftover_keys(history(30 * HOUR, 2 * HOUR), now=NOW) == named(30 * HOUR, 2 * HOUR)


def test_a_key_older_than_any_order_was_deleted_long_ago() -> None:
    assert leftovers.leftover_keys(history(9 * 24 * HOUR, 2 * HOUR), now=NOW) == named(2 * HOUR)


def stored_key(api: FakeApi, name: str) -> None:
    api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": name}})


def keys(api: FakeApi) -> list[str]:
    return [s["metadata"]["name"] for s in api.all(SECRETS)]


def test_left_over_keys_are_deleted_by_name_as_the_record_is_now(world: World) -> None:
    stored = world.store(replace(history(3 * HOUR, 2 * HOUR), uid="", resource_version=""))
    for age in (3 * HOUR, 2 * HOUR):
        stored_key(world.api, key(age, stored.uid))
        stored_key(world.api, key(age, stored.old_hash))
    stored_key(world.api, "pending-0000000000-1")
    leftovers.delete_keys(world.cluster, replace(stored, history=()), NOW)
    assert keys(world.api) == ["pending-0000000000-1"]
    assert not [r for r in world.api.requests if r.method == "GET" and "/secrets" in r.path]


def test_the_keys_of_another_record_of_that_name_stay(world: World) -> None:
    stored = world.store(replace(history(2 * HOUR), uid="", resource_version=""))
    stored_key(world.api, key(2 * HOUR))
    leftovers.delete_keys(world.cluster, replace(stored, uid="of a former one"), NOW)
    assert keys(world.api) == [key(2 * HOUR)]
