"""Whether there is room at admission: what is counted, how often, and over all processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster import quota
from issuer_job.cluster.api import CONFIGMAPS, Cluster
from issuer_job.cluster.quota import RESOURCE_QUOTAS
from issuer_job.demand.share import NAMESPACE_FULL, use_of
from issuer_job.launch import room
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.pace import FIRST, LEAST
from issuer_job.launch.room import CONFIGMAPS_SHARE, FAR, JOBS_SHARE, KEPT, LATELY, NEAR, Room
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import to_config_map
from tests.fakes.api import status
from tests.worlds.job import JobWorld
from tests.worlds.samples import NOW, issued, source


class Clock:
    """Seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def room_of(world: JobWorld, clock: Clock) -> Room:
    settings = SettingsCache(world.cluster, clock=clock, sleep=lambda seconds: None)
    return Room(settings, clock=clock, now=lambda: NOW + timedelta(seconds=clock.now))


def launched(name: str, *, namespace: str = "shop") -> Record:
    """A record as a launch writes it."""
    wanted = transitions.wanted(namespace=namespace, secret_name=name, sources=(source(),), now=NOW)
    return transitions.launched(wanted, now=NOW, reason=LaunchReason.NEW)


def with_certificate(name: str) -> Record:
    """One that has what it wants."""
    return replace(launched(name), issued=issued(hosts=launched(name).intent.hosts))


def store(world: JobWorld, *records: Record) -> None:
    """As another process wrote them."""
    for body in map(to_config_map, records):
        world.api.add(CONFIGMAPS, v.NAMESPACE, body)


def set_quota(world: JobWorld, kind: str, used: int, hard: int) -> None:
    status = {"used": {kind: str(used)}, "hard": {kind: str(hard)}}
    world.api.add(RESOURCE_QUOTAS, v.NAMESPACE, {"metadata": {"name": kind.replace("/", "-")}, "status": status})


def takes(own: Room, world: JobWorld, name: str, *, namespace: str = "shop") -> bool:
    wanted = launched(name, namespace=namespace)
    return own.take(world.cluster, namespace, wanted.name, use_of(wanted))


def lists(world: JobWorld) -> int:
    """How often records were listed."""
    return sum(v.RECORD_NAMESPACE in request.query.get("labelSelector", "") for request in world.api.requests)


def test_what_other_processes_have_launched_counts(world: JobWorld, clock: Clock) -> None:
    world.set_options(activeOrdersPerNamespace=2)
    first, second = room_of(world, clock), room_of(world, clock)
    assert takes(first, world, "a")
    store(world, launched("a"))
    assert takes(second, world, "b")
    store(world, launched("b"))
    clock.now += NEAR + 1
    assert not takes(first, world, "c")
    assert not takes(second, world, "c")
    assert takes(first, world, "c", namespace="other")


def test_an_attempt_that_is_superseded_takes_no_second_place(world: JobWorld, clock: Clock) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own = room_of(world, clock)
    assert [takes(own, world, "a") for _ in range(3)] == [True] * 3


def test_a_namespace_with_little_is_counted_once_a_minute(world: JobWorld, clock: Clock) -> None:
    own = room_of(world, clock)
    for number in range(FIRST // 2 + 1):
        clock.now += 5
        assert takes(own, world, f"h{number}")
    assert lists(world) == 1
    clock.now += FAR
    assert takes(own, world, "more")
    assert lists(world) == 2


def test_so_is_one_with_half_of_the_certificates_that_it_may_have(world: JobWorld, clock: Clock) -> None:
    """They are listed in several pages."""
    world.set_options(certificatesPerNamespace=20, hostsPerNamespace=40)
    store(world, *(replace(with_certificate(f"r{number}"), phase=Phase.ISSUED) for number in range(16)))
    own = room_of(world, clock)
    for number in range(2):
        clock.now += 5
        assert takes(own, world, f"h{number}")
    assert lists(world) == 1
    assert takes(own, world, "h2")  # with 18 others
    assert lists(world) == 2


def test_where_a_bound_is_near_it_is_counted_again_and_again(world: JobWorld, clock: Clock) -> None:
    world.set_options(activeOrdersPerNamespace=3)
    own = room_of(world, clock)
    for number in range(3):
        clock.now += 0.3
        assert takes(own, world, f"h{number}")
    assert not takes(own, world, "h3")
    before = lists(world)
    clock.now += NEAR + room.UNSEEN
    assert takes(own, world, "h3")  # none of them was ever written
    assert lists(world) == before + 1


def test_a_count_that_takes_long_is_made_less_often(world: JobWorld, clock: Clock) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own, send = room_of(world, clock), world.api.send

    def slow(*args: object, **kwargs: object) -> object:
        clock.now += 1
        return send(*args, **kwargs)  # type: ignore[arg-type]

    store(world, launched("a"))
    world.api.send = slow  # type: ignore[method-assign,assignment]
    assert not takes(own, world, "b")
    before = lists(world)
    clock.now += room.COST - 2
    assert not takes(own, world, "b")
    assert lists(world) == before
    clock.now += 2
    assert not takes(own, world, "b")
    assert lists(world) == before + 1


def test_the_first_few_wait_for_nobody_and_the_rest_for_the_nodes(world: JobWorld, clock: Clock) -> None:
    store(world, *(launched(f"x{n}", namespace="other") for n in range(50)))
    own = room_of(world, clock)
    assert [takes(own, world, f"h{n}") for n in range(FIRST + 1)] == [True] * FIRST + [False]
    clock.now += LATELY + 1  # they are the first of another minute
    assert takes(own, world, "more")


def test_two_processes_know_of_each_others_first_few(world: JobWorld, clock: Clock) -> None:
    one, two = room_of(world, clock), room_of(world, clock)
    for number in range(FIRST):
        assert takes(one if number % 2 else two, world, f"h{number}")
        store(world, launched(f"h{number}"))
        clock.now += NEAR + 0.01
    assert not any(takes(process, world, "more") for process in (one, two))


def test_what_has_ended_meanwhile_was_one_of_the_first_few_too(world: JobWorld, clock: Clock) -> None:
    store(world, *(replace(with_certificate(f"h{n}"), phase=Phase.ISSUED) for n in range(FIRST)))
    store(world, *(launched(f"x{n}", namespace="other") for n in range(LEAST)), launched("h"))
    assert not takes(room_of(world, clock), world, "more")


def test_one_certificate_that_is_launched_again_and_again_is_not_the_first_each_time(
    world: JobWorld, clock: Clock
) -> None:
    store(world, *(launched(f"x{n}", namespace="other") for n in range(LEAST)))
    own = room_of(world, clock)
    assert [takes(own, world, "edited") for _ in range(FIRST + 1)] == [True] * FIRST + [False]


def test_what_was_not_launched_leaves_its_place_among_the_first(world: JobWorld, clock: Clock) -> None:
    store(world, *(launched(f"x{n}", namespace="other") for n in range(LEAST)), launched("h"))
    own = room_of(world, clock)
    for number in range(2 * FIRST):
        assert takes(own, world, f"h{number}")
        own.give_back("shop", launched(f"h{number}").name)


def test_a_namespace_has_as_many_pods_as_are_left_for_others(world: JobWorld, clock: Clock) -> None:
    own = room_of(world, clock)
    active = [replace(launched(f"h{n}"), phase=Phase.AUTHORIZING) for n in range(2)]
    store(world, *active)
    set_quota(world, quota.PODS, 2, 5)
    assert takes(own, world, "more")
    set_quota(world, quota.PODS, 2, 4)
    own = room_of(world, clock)
    assert not takes(own, world, "more")
    assert takes(own, world, "first", namespace="other")


def test_jobs_that_exist_are_shared_and_the_last_fifth_is_the_sweeps(world: JobWorld, clock: Clock) -> None:
    """An Ingress that is edited each second makes a Job each second; finished ones stay for ten minutes."""
    own = room_of(world, clock)
    for number in range(5):
        set_quota(world, quota.JOBS, number, 10)
        clock.now += 11
        took = takes(own, world, "edited")
        assert took is (number < JOBS_SHARE * 10 - number)
    assert takes(own, world, "first", namespace="other")
    set_quota(world, quota.JOBS, 8, 10)
    clock.now += 20
    assert not takes(own, world, "first", namespace="third")
    set_quota(world, quota.JOBS, 4, 10)
    clock.now += KEPT + 1
    assert takes(own, world, "edited")


def test_what_was_given_back_is_free(world: JobWorld, clock: Clock) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    own = room_of(world, clock)
    assert takes(own, world, "a")
    own.give_back("shop", launched("a").name)
    assert takes(own, world, "b")
    own.give_back("nobody", "x")


def test_one_certificate_too_many_is_refused_and_those_that_are_there_go_on(world: JobWorld, clock: Clock) -> None:
    world.set_options(certificatesPerNamespace=1, hostsPerNamespace=100)
    own = room_of(world, clock)
    assert own.refusal(world.cluster, launched("a")) is None
    store(world, launched("a"))
    clock.now += FAR + 1
    refused = own.refusal(world.cluster, launched("b"))
    assert refused is not None
    assert refused.type == NAMESPACE_FULL
    assert "certificatesPerNamespace" in refused.detail
    assert own.refusal(world.cluster, with_certificate("old")) is None


def test_too_many_hosts_are_refused_whatever_the_number_of_certificates(world: JobWorld, clock: Clock) -> None:
    world.set_options(hostsPerNamespace=3)
    own = room_of(world, clock)
    three = replace(launched("a"), intent=replace(launched("a").intent, hosts=("a.dev", "b.dev", "c.dev")))
    assert own.refusal(world.cluster, three) is None
    store(world, three)
    clock.now += FAR + 1
    refused = own.refusal(world.cluster, launched("b"))
    assert refused is not None
    assert "hostsPerNamespace" in refused.detail


def test_refused_ones_do_not_keep_each_other_out(world: JobWorld, clock: Clock) -> None:
    world.set_options(certificatesPerNamespace=1)
    problem = transitions.Problem(type=NAMESPACE_FULL, detail="too many")
    for name in ("a", "b"):
        store(world, transitions.held_back(launched(name), NOW, problem=problem, until=NOW))
    assert room_of(world, clock).refusal(world.cluster, launched("a")) is None


def test_new_hosts_are_refused_before_configmaps_run_out_and_challenges_go_on(world: JobWorld, clock: Clock) -> None:
    set_quota(world, quota.CONFIGMAPS, int(CONFIGMAPS_SHARE * 100), 100)
    own = room_of(world, clock)
    refused = own.refusal(world.cluster, launched("new"))
    assert refused is not None
    assert refused.type == "noRoom"
    assert own.refusal(world.cluster, with_certificate("old")) is None


def test_a_cluster_whose_quota_may_not_be_read_is_bounded_by_the_api_server_alone(
    world: JobWorld, clock: Clock
) -> None:
    world.api.fail("GET", "resourcequotas", status(403, "Forbidden"), times=99)
    assert takes(room_of(world, clock), world, "a")


def test_names_that_somebody_made_up_are_forgotten(world: JobWorld, clock: Clock) -> None:
    own = room_of(world, clock)
    for number in range(50):
        clock.now += 10
        own.take(Cluster(world.api), f"namespace-{number}", "x.y")
    assert len(own._namespaces) <= FAR / 10 + 2


@pytest.mark.parametrize(
    ("kind", "used", "requests"),
    [
        (quota.JOBS, 4, 1),
        (quota.JOBS, 6, 3),
        (quota.PODS, 6, 3),
        (quota.CONFIGMAPS, 7, 1),
        (quota.CONFIGMAPS, 8, 3),
    ],
)
def test_what_is_used_is_asked_for_each_time_where_it_matters(
    world: JobWorld, clock: Clock, kind: str, used: int, requests: int
) -> None:
    """A cluster may have more than half of its ConfigMaps for years."""
    set_quota(world, kind, used, 10)
    settings = SettingsCache(world.cluster, clock=clock, sleep=lambda seconds: None)
    for _ in range(3):
        clock.now += 1
        settings.quota()
    assert sum(RESOURCE_QUOTAS.plural in request.path for request in world.api.requests) == requests


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *((f"3{unit}", 3 * 1000**power) for power, unit in enumerate(("", *"kMGTPE"))),
        *((f"3{unit}i", 3 * 1024**power) for power, unit in enumerate("KMGTPE", 1)),
        *(("2000000000n", 2), ("2500000u", 2), ("1500m", 1), ("999m", 0)),
        *(("5e3", 5000), ("5E3", 5000), ("12e+2", 1200), ("2500e-3", 2), ("1E", 10**18), ("1e", 0)),
        *(("250", 250), ("+7", 7), ("0.5Ki", 512), ("1.5k", 1500), (".5k", 500), ("5.", 5), ("0", 0), ("007", 7)),
        *(
            (nonsense, 0)
            for nonsense in ("", "k", "Ki", ".", "-5", "50 k", "50ki", "50mi", "50K", "50kk", "5e", "e3")
        ),
        *((nonsense, 0) for nonsense in ("NaN", "Infinity", "1_000", "٣", "5\n", "1e999999999", "9" * 5000)),
    ],
)
def test_quantities_of_a_quota(text: str, number: int) -> None:
    assert quota._number(text) == number
