"""What reviews cost the webhook, however large and odd: in memory, CPU, threads and log lines."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from tests.fakes.webhook_parts import FakeForesight, FakeLauncher, FakeLosses, FakeSettings, fake_metrics
from tests.worlds.costs import cost_of, hostile_ingress
from tests.worlds.reviews import decision_on, ingress, read, review
from tests.worlds.secret_reviews import review_of, secret
from webhook.admission import Admission
from webhook.bounded_log import BURST, BURST_OF_ALL, RATE, RATE_OF_ALL, BoundedLog
from webhook.decide_ingress import IngressPolicy
from webhook.decide_secret import SecretPolicy
from webhook.fair_pool import ALWAYS, SHARE, THREADS, Busy, FairPool
from webhook.memory import LARGE_ROOM, SMALL, SMALL_ROOM, NoMemory, ReviewMemory
from webhook.policy import AdmissionPolicy, AdmissionReason
from webhook.review import MAX_BODY, MAX_ENTRIES

LARGE = MAX_BODY // 16
"""Bytes: what is in proportion is so at any size, and watching the memory takes time."""


def filled(document: dict[str, Any], item: Callable[[int], str]) -> bytes:
    """The review with "FILL" replaced by as many items as make it large."""
    text, parts, size, number = json.dumps(document), [], 0, 0
    while size < LARGE - len(text):
        parts.append(item(number))
        size += len(parts[-1]) + 1
        number += 1
    return text.replace('"FILL"', ",".join(parts[:-1])).encode()


def ingress_with(**spec: Any) -> dict[str, Any]:
    return review(ingress() | {"spec": {"ingressClassName": "x", **spec}})


def map_with(place: str) -> dict[str, Any]:
    new = ingress()
    new["metadata"][place] = {"FILL": 1}
    return review(new)


HOSTILE = {
    "lists that nobody reads": (review(ingress(), x=["FILL"]), lambda n: "[]"),
    "lists in the object": (review(ingress() | {"x": ["FILL"]}), lambda n: "[]"),
    "rules without a host": (ingress_with(rules=["FILL"]), lambda n: "{}"),
    "rules": (ingress_with(rules=["FILL"]), lambda n: f'{{"host":"{n:x}"}}'),
    "entries": (ingress_with(tls=["FILL"]), lambda n: "{}"),
    "hosts of one entry": (ingress_with(tls=[{"secretName": "s", "hosts": ["FILL"]}]), lambda n: f'"{n:x}"'),
    "paths": (ingress_with(rules=[{"host": "a.dev", "http": {"paths": ["FILL"]}}]), lambda n: '{"path":"/"}'),
    "rules of the old object": (review(ingress(), old=ingress() | {"spec": {"rules": ["FILL"]}}), lambda n: "{}"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", HOSTILE)
def test_large_reviews_take_little_to_read_and_nothing_to_keep(name: str) -> None:
    body = filled(*HOSTILE[name])
    assert len(body) > 0.99 * LARGE
    taken = cost_of(lambda: decision_on(read(body)))
    assert taken.seconds < 0.05
    assert taken.mib < 3
    kept = read(body)
    assert len(repr(kept)) < 50_000


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["annotations", "labels"])
def test_maps_of_more_than_can_be_meant_are_refused_as_they_are(place: str) -> None:
    text = json.dumps(map_with(place)).replace('"FILL": 1', ",".join(f'"{n:x}":""' for n in range(70_000)))
    taken = cost_of(lambda: read(text.encode()))
    assert taken.seconds < 0.2
    assert taken.mib < 20
    assert f"length <= {MAX_ENTRIES}" in read(text.encode()).problem


def test_data_of_a_secret_with_more_keys_than_can_be_meant() -> None:
    body = json.dumps(review_of(secret(data={f"{n:x}": "" for n in range(MAX_ENTRIES + 1)}))).encode()
    assert "$.data" in read(body, SecretPolicy()).problem


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "size",
    [{"rules": 1000, "entries": 1000}, {"rules": 2000}, {"hosts": 1999}, {"rules": 43, "entries": 43}],
    ids=str,
)
def test_names_cost_what_they_are_whatever_they_stand_for(size: dict[str, int]) -> None:
    body = json.dumps(review(hostile_ingress(**size), dryRun=True)).encode()
    taken = cost_of(lambda: decision_on(read(body)))
    assert taken.seconds < 0.25
    assert taken.mib < 8


def test_hosts_of_a_secrets_annotation() -> None:
    """It comes here before the API server looks at its size."""
    body = json.dumps(review_of(secret(hosts="ab," * 200_000))).encode()
    taken = cost_of(lambda: decision_on(read(body, SecretPolicy()), SecretPolicy()))
    assert taken.seconds < 0.2
    assert taken.mib < 8
    assert decision_on(read(body, SecretPolicy()), SecretPolicy()).reason is AdmissionReason.REFUSED


@pytest.mark.parametrize("field", ["name", "generateName", "namespace", "uid"])
def test_names_that_nothing_can_have_are_not_written_down(field: str) -> None:
    """They come here before the API server looks."""
    assert field in read(json.dumps(review(ingress(**{field: "x" * 254}))).encode()).problem
    assert not read(json.dumps(review(ingress(**{field: "x" * 253}))).encode()).problem


def test_a_class_that_nothing_can_have_takes_no_room_in_records() -> None:
    new = ingress()
    new["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "x" * 250_000
    new["spec"]["ingressClassName"] = "y" * 250_000
    (entry,) = decision_on(read(json.dumps(review(new)).encode())).launch
    found = entry.source.ingress_class
    assert (found.annotation, found.field) == ("x" * 253, "y" * 253)


def test_large_reviews_wait_for_room_and_small_ones_do_not() -> None:
    room = ReviewMemory()
    with room.taken(LARGE_ROOM), room.taken(SMALL):
        with pytest.raises(NoMemory), room.taken(SMALL + 1, patience=0.01):
            pass
        with room.taken(SMALL):
            pass
    with room.taken(LARGE_ROOM):
        pass


def test_room_that_becomes_free_is_taken() -> None:
    room, came = ReviewMemory(), threading.Event()

    def wait() -> None:
        with room.taken(LARGE_ROOM, patience=10):
            came.set()

    with room.taken(SMALL + 1):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not came.wait(0.05)
    assert came.wait(10)
    waiting.join()


def test_all_small_ones_together_have_a_bound() -> None:
    room = ReviewMemory()
    held = [room.taken(SMALL) for _ in range(SMALL_ROOM // SMALL)]
    for taken in held:
        taken.__enter__()
    with pytest.raises(NoMemory), room.taken(1, patience=0.01):
        pass
    for taken in held:
        taken.__exit__(None, None, None)


def fill(pool: FairPool, namespace: str, call: Callable[[], object]) -> int:
    """How many calls of one namespace find room."""
    for number in range(1000):
        try:
            pool.submit(namespace, call)
        except Busy:
            return number
    raise AssertionError("there is no bound")


def test_one_namespace_cannot_make_the_others_busy() -> None:
    gate, pool = threading.Event(), FairPool(max_outstanding=200)
    try:
        assert fill(pool, "evil", gate.wait) == 200 // SHARE
        assert pool.submit("shop", lambda: "at once").result(timeout=10) == "at once"
    finally:
        gate.set()


def test_many_namespaces_leave_each_other_a_turn() -> None:
    gate, pool, order = threading.Event(), FairPool(max_outstanding=200), list[str]()
    try:
        for number in range(SHARE):
            assert fill(pool, f"evil-{number}", lambda: (gate.wait(), order.append("evil"))) == 200 // SHARE
        last = pool.submit("shop", lambda: order.append("shop"))
        assert fill(pool, "shop", lambda: order.append("shop")) == ALWAYS - 1
    finally:
        gate.set()
    last.result(timeout=10)
    assert order.index("shop") <= 2 * THREADS + SHARE, "after those that ran, and one more of each that waited"


def test_a_call_that_fails_or_is_given_up_leaves_its_place() -> None:
    pool = FairPool(max_outstanding=4)
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            pool.submit("shop", lambda: 1 / 0).result(timeout=10)
    gate = threading.Event()
    running = pool.submit("shop", gate.wait)
    with pytest.raises(Busy):
        pool.submit("shop", gate.wait)
    gate.set()
    running.result(timeout=10)


class Lines:
    def __init__(self) -> None:
        self.now = 1000.0
        self.log = BoundedLog(clock=lambda: self.now)
        self.written: list[dict[str, object]] = []

    def say(self, namespace: str, times: int) -> int:
        before = len(self.written)
        for _ in range(times):
            self.log.say(lambda event, **fields: self.written.append(fields), "admission", about=namespace)
        return len(self.written) - before


def test_log_lines_have_a_bound_in_each_namespace() -> None:
    lines = Lines()
    assert lines.say("evil", 10_000) == BURST
    assert lines.say("shop", 1) == 1
    lines.now += 10
    assert lines.say("evil", 10_000) == 10 * RATE
    assert lines.written[BURST + 1] == {"leftOut": 10_000 - BURST}
    lines.now += 3600
    assert lines.say("evil", 10_000) == BURST


def test_namespaces_that_are_made_up_do_not_make_more_lines() -> None:
    lines = Lines()
    assert sum(lines.say(f"evil-{number}", 1) for number in range(10_000)) == BURST_OF_ALL
    lines.now += 1
    assert lines.say("shop", 1) == 1
    assert sum(lines.say(f"evil-{number}", 1) for number in range(10_000)) == RATE_OF_ALL - 1


@pytest.mark.exhaustive
def test_lines_of_admissions_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    launcher = FakeLauncher({"web-tls": LaunchOutcome(OutcomeReason.UNCHANGED, "web-tls", 7)})
    admission = Admission(launcher, FakeForesight(), FakeSettings(), FakeLosses(), fake_metrics())
    policy: AdmissionPolicy = IngressPolicy(namespace_enabled=False)
    body = json.dumps(review(ingress())).encode()
    for _ in range(2 * BURST):
        admission.admit(body, policy, started=time.monotonic())
    assert BURST <= sum(record.message == "admission" for record in caplog.records) < 1.5 * BURST
