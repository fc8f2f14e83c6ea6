"""Managed Secrets that are deleted or emptied: who hears of it, what is read of it, and what follows."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import SecretLoss
from issuer_job.launch.room import Room
from issuer_job.launch.turns import Turns
from issuer_job.record import transitions
from issuer_job.record.record import Phase
from tests.fakes import webhook_parts as parts
from tests.fakes.webhook_parts import FakeLosses
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.request import asking, issue_asked
from tests.worlds.samples import PROBLEM
from tests.worlds.sweep import HOUR, change, delete_ingress, issue_one, jobs, orders, run, with_webhook, write
from webhook.app import create_app
from webhook.losses import MAX_OUTSTANDING, PAUSES, Losses

KEY = b"-----BEGIN PRIVATE KEY----- very private"


def review(operation: str = "DELETE", **request: Any) -> Json:
    data = {"tls.key": b64encode(KEY).decode(), "tls.crt": 7}  # nothing looks at what is in there
    old = {"metadata": {"name": "web-tls", "labels": {v.MANAGED: "true"}}, "type": v.TLS_SECRET_TYPE, "data": data}
    said = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Secret"},
        "operation": operation,
        "namespace": "shop",
        "name": "web-tls",
        "dryRun": False,
        "object": None if operation == "DELETE" else {"metadata": {"name": "web-tls"}, "data": {"tls.crt": ""}},
        "oldObject": old,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": said | request}


def heard(document: Json) -> list[tuple[str, str, SecretLoss]]:
    losses = FakeLosses()
    answer = create_app(parts.parts(losses=losses)).test_client().post(parts.LOST, json=document)
    assert answer.get_json()["response"] == {"uid": "u-1", "allowed": True}
    return losses.lost


@pytest.mark.parametrize(("operation", "loss"), [("DELETE", SecretLoss.DELETED), ("UPDATE", SecretLoss.EMPTIED)])
def test_it_is_let_pass_at_once_and_nothing_of_the_secret_is_kept(
    operation: str, loss: SecretLoss, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    assert heard(review(operation)) == [("shop", "web-tls", loss)]
    said = str([record.__dict__ for record in caplog.records])
    assert "web-tls" in said
    assert b64encode(KEY).decode() not in said


def test_of_a_collection_that_is_deleted_the_object_has_the_name() -> None:
    assert heard(review(name="")) == [("shop", "web-tls", SecretLoss.DELETED)]


@pytest.mark.parametrize(
    "request_",
    [
        {"dryRun": True},
        {"namespace": "kube-system"},
        {"namespace": v.NAMESPACE},
        {"operation": "CREATE"},
        {"subResource": "status"},
        {"name": "", "oldObject": None},
        {"name": "", "oldObject": {"metadata": {}}},
        {"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}},
    ],
    ids=str,
)
def test_what_is_nothing_to_act_on(request_: Json) -> None:
    assert heard(review(**request_)) == []


class Heard:
    """What follows of it in a JobWorld; the user's next steps come while the Secret is waited for."""

    def __init__(self, world: JobWorld, *meanwhile: Callable[[], object]) -> None:
        settings = SettingsCache(world.cluster)
        room = Room(settings)
        self.turns = Turns(world.cluster, Launcher(world.cluster, settings, clock=world.clock.read, room=room), room)
        self.slept: list[float] = []
        self._steps = list(meanwhile)
        self._losses = Losses(world.cluster, settings, self.turns, sleep=self._sleep)

    def __call__(self, loss: SecretLoss = SecretLoss.DELETED, namespace: str = "shop") -> None:
        self._losses.make_again(namespace, "web-tls", loss)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._steps:
            self._steps.pop(0)()


def gone(world: JobWorld) -> Callable[[], object]:
    """The API server has deleted it."""
    return partial(world.api.remove, SECRETS, "shop", "web-tls")


def state(world: JobWorld) -> str:
    return str(world.secret()["metadata"]["labels"][v.STATE])


def state_or_none(world: JobWorld) -> Json | None:
    return world.api.stored(SECRETS, "shop", "web-tls")


def test_one_that_is_deleted_has_a_placeholder_at_once_and_a_new_certificate(world: JobWorld) -> None:
    first = issue_one(world).issued
    Heard(world, gone(world))()
    assert (state(world), world.record().phase) == ("placeholder", Phase.LAUNCHED)
    assert world.record().attempt is not None
    assert world.record().attempt.reason == "Secret missing"  # type: ignore[union-attr]
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)
    assert first is not None
    assert world.record().issued.serial != first.serial  # type: ignore[union-attr]
    assert orders(world) == 2


def test_it_is_waited_until_it_is_gone(world: JobWorld) -> None:
    issue_one(world)
    heard = Heard(world, lambda: None, lambda: None, gone(world))
    heard()
    assert len(heard.slept) == 3
    assert world.record().phase is Phase.LAUNCHED


def test_one_that_is_not_deleted_after_all_stays_as_it_is(world: JobWorld) -> None:
    before = issue_one(world)
    heard = Heard(world)
    heard()
    assert tuple(heard.slept) == PAUSES
    assert world.record() == before
    assert_good_secret(world)


def test_whoever_deletes_the_ingress_too_gets_neither_placeholder_nor_order(world: JobWorld) -> None:
    before = issue_one(world)
    Heard(world, lambda: (gone(world)(), delete_ingress(world)))()
    assert world.api.stored(SECRETS, "shop", "web-tls") is None
    assert (world.record(), jobs(world)) == (before, 1)


def test_nor_does_an_ingress_that_is_being_deleted_or_asks_no_more(world: JobWorld) -> None:
    before = issue_one(world)
    changes: list[dict[str, Any]] = [
        {"deletionTimestamp": "2026-05-05T10:00:00Z"},
        {"annotations": {v.TLS_ACME: "false"}},
    ]
    for metadata in changes:
        world.api.add(INGRESSES, "shop", ingress(**metadata))
        Heard(world, gone(world) if state_or_none(world) else lambda: None)()
        assert world.api.stored(SECRETS, "shop", "web-tls") is None
        assert (world.record(), jobs(world)) == (before, 1)


def test_nor_a_namespace_that_goes(world: JobWorld) -> None:
    before = issue_one(world)
    world.policies.terminating.add("shop")
    Heard(world, gone(world))()
    assert (world.record(), jobs(world)) == (before, 1)


def test_nor_what_certjob_knows_nothing_of(world: JobWorld) -> None:
    Heard(world)()
    Heard(world)(namespace="elsewhere")
    assert jobs(world) == 0


def test_a_secret_that_asked_for_itself_is_its_owners_to_make(world: JobWorld) -> None:
    issue_asked(world, asking())
    world.apply(ingress())  # although somebody else wants it, too
    heard = Heard(world, gone(world))
    heard()
    assert world.api.stored(SECRETS, "shop", "web-tls") is None
    assert (jobs(world), len(heard.slept)) == (1, 1)


def test_of_several_ingresses_one_that_still_wants_it_is_enough(world: JobWorld) -> None:
    issue_one(world)
    world.apply(ingress("second"))
    Heard(world, gone(world), lambda: None)()
    delete_ingress(world)
    world.api.remove(SECRETS, "shop", "web-tls")
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


def test_an_attempt_that_is_at_work_makes_it_and_meanwhile_there_is_a_placeholder(world: JobWorld) -> None:
    world.apply(ingress())
    Heard(world, gone(world))()
    assert (state(world), jobs(world)) == ("placeholder", 1)
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


def waiting(world: JobWorld, *, asked: bool = False) -> None:
    """Its renewal failed, so that it waits for six hours."""
    issue_one(world)
    problem = replace(PROBLEM, step="authorization", host="")
    write(world, transitions.waiting(world.record(), world.clock.read(), problem=problem, wait=6 * HOUR, asked=asked))


def test_it_ends_a_back_off_as_the_annotation_for_a_retry_does(world: JobWorld) -> None:
    waiting(world)
    Heard(world, gone(world))()
    record = world.record()
    assert (record.phase, state(world)) == (Phase.LAUNCHED, "placeholder")
    assert record.retry is not None  # so that the next wait is longer
    assert world.run() is v.ExitCode.DONE


def test_but_not_a_wait_that_the_ca_asked_for(world: JobWorld) -> None:
    waiting(world, asked=True)
    before = world.record()
    Heard(world, gone(world))()
    assert (world.record(), jobs(world), state(world)) == (before, 1, "placeholder")


def test_where_there_is_no_room_it_is_written_down_and_has_its_turn(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    issue_one(world)
    world.apply(ingress("other", secret="other-tls", hosts=("other.certjob.dev",)))
    heard = Heard(world, gone(world))
    heard()
    record = world.record()
    assert (record.phase, state(world)) == (Phase.WAITING, "placeholder")
    assert record.retry is not None
    assert record.retry.problem.type == transitions.HELD_BACK
    assert world.run(secret="other-tls") is v.ExitCode.DONE
    with_webhook(world)
    world.clock.ahead += timedelta(minutes=5)
    run(world)
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


def test_one_that_was_emptied_is_filled_again(world: JobWorld) -> None:
    issue_one(world)
    change(world, tls_crt=b"", tls_key=b"")
    Heard(world)(SecretLoss.EMPTIED)
    assert world.record().phase is Phase.LAUNCHED
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world, (HOST,))
    assert orders(world) == 2


def test_an_api_server_that_fails_ends_nothing(world: JobWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    issue_one(world)
    world.api.remove(INGRESSES, "shop", "web")
    world.api.add(INGRESSES, "shop", {"metadata": {"name": "web", "namespace": "shop"}, "spec": 7})
    Heard(world, gone(world))()
    [said] = [r.__dict__["fields"] for r in caplog.records if r.message == "secret-lost"]
    assert said["secret"] == "web-tls"


def test_nobody_waits_for_it_and_of_a_crowd_one_namespace_has_a_quarter(
    world: JobWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    gate, settings, slept = Event(), SettingsCache(world.cluster), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert gate.wait(20)

    losses = Losses(world.cluster, settings, parts.FakeLauncher(), sleep=sleep)
    started = time.monotonic()
    for number in range(3000):
        losses.heard("shop", f"s{number}", SecretLoss.DELETED)
    losses.heard("other", "web-tls", SecretLoss.DELETED)
    assert time.monotonic() - started < 5
    said = [r.__dict__["fields"] for r in caplog.records if r.message == "secret-lost"]
    assert {(fields["namespace"], fields["outcome"]) for fields in said} == {("shop", "Busy")}
    gate.set()
    deadline = time.monotonic() + 20
    while len(slept) < MAX_OUTSTANDING // 4 + 1 and time.monotonic() < deadline:
        Event().wait(0.01)
    assert len(slept) == MAX_OUTSTANDING // 4 + 1


def test_a_limit_of_the_issuer_holds_the_order_back_and_an_event_says_so(world: JobWorld) -> None:
    world.set_issuer(limits={"perExactSet": 1})
    issue_one(world)
    Heard(world, gone(world))()
    assert (world.record().phase, state(world), jobs(world)) == (Phase.WAITING, "placeholder", 1)
    with_webhook(world)
    world.clock.ahead += timedelta(minutes=5)
    run(world)
    assert [reason for reason, _ in world.events()].count("CertificateHeldBack") == 1
    assert (orders(world), state(world)) == (1, "placeholder")
    world.clock.ahead += timedelta(days=7)
    run(world)
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


def test_one_that_was_emptied_and_has_to_wait_is_left_to_the_sweep_which_can_put_a_placeholder_there(
    world: JobWorld,
) -> None:
    world.set_issuer(limits={"perExactSet": 1})
    before = issue_one(world)
    change(world, tls_crt=b"", tls_key=b"")
    Heard(world)(SecretLoss.EMPTIED)
    assert (world.record(), jobs(world)) == (before, 1)
    with_webhook(world)
    assert (world.record().phase, state(world), jobs(world)) == (Phase.WAITING, "placeholder", 1)
    said = [reason for reason, _ in world.events()]
    assert (said.count("CertificateDamaged"), said.count("CertificateHeldBack")) == (1, 1)
