"""Certificates without an Ingress that wait for an operator, or for a place: they are looked at all the same."""

from __future__ import annotations

import time
from datetime import timedelta

import jsonpatch
import pytest

from certs.chain import dns_names
from certs.placeholder import is_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, SECRETS, Json
from issuer_job.launch import pace, room
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.record import transitions
from issuer_job.record.record import Phase
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.request import (
    ask,
    asking,
    before_1_36,
    create_refused,
    decided,
    delete,
    edit,
    issue_asked,
    leaf,
    metadata,
)
from tests.worlds.sweep import jobs, orders, passes, secret_is_there, wait_for

pytestmark = pytest.mark.exhaustive

OTHER = "db.certjob.dev"


@pytest.fixture(params=["1.36", "before"])
def held(swept: JobWorld, request: pytest.FixtureRequest) -> JobWorld:
    return before_1_36(swept) if request.param == "before" else swept


@pytest.mark.parametrize("issuer", ["nosuch", "broken"])
def test_deleting_it_ends_it(held: JobWorld, issuer: str) -> None:
    held.set_issuer("broken", default=False, nonsense=1)
    ask(held, asking(issuer=issuer))
    assert held.record().phase is Phase.WAITING
    delete(held)
    passes(held, 10, until=lambda: held.record().phase is Phase.RETIRED)
    assert held.record().phase is Phase.RETIRED
    assert jobs(held) == 0


def test_taking_the_label_away_ends_it(held: JobWorld) -> None:
    ask(held, asking(issuer="nosuch"))
    edit(held, labels={v.REQUEST: None})
    passes(held, 10, until=lambda: held.record().phase is Phase.RETIRED)
    assert held.record().phase is Phase.RETIRED
    assert secret_is_there(held)


def test_one_that_is_handed_back_to_others_ends_too(held: JobWorld) -> None:
    ask(held, asking(issuer="nosuch"))
    edit(held, labels={v.REQUEST: None, v.MANAGED: None})
    passes(held, 10, until=lambda: held.record().phase is Phase.RETIRED)
    assert held.record().phase is Phase.RETIRED


def test_a_create_that_is_refused_later_does_not_change_what_is_wanted(held: JobWorld) -> None:
    issue_asked(held)
    before = leaf(held)
    create_refused(held, asking(issuer="nosuch"))
    assert held.record().intent.settings.issuer == "nosuch"
    passes(held, 3, until=lambda: held.record().phase is Phase.LAUNCHED)
    assert held.run() is v.ExitCode.DONE
    record = held.record()
    assert (record.phase, record.intent.settings.issuer) == (Phase.ISSUED, ISSUER)
    assert leaf(held) == before
    assert orders(held) == 1


def test_the_failure_is_told_on_the_secret(held: JobWorld) -> None:
    ask(held, asking(issuer="nosuch"))
    passes(held, 2)
    assert held.record().phase is Phase.WAITING
    event = held.api.all(EVENTS)[0]
    about = event["regarding"]
    assert (event["reason"], about["kind"], about["uid"]) == ("CertificateFailed", "Secret", metadata(held)["uid"])
    assert "there is no issuer nosuch" in event["note"]


def test_one_whose_issuer_is_deleted_waits_longer_each_time(held: JobWorld) -> None:
    held.set_issuer("inner", default=False, solvers=[{"http01": {"ingressClass": "inner"}}])
    ask(held, asking(issuer="inner"))
    wait_for(held)
    held.api.remove(CONFIGMAPS, v.NAMESPACE, "inner")
    passes(held, 6)
    retry = held.record().retry
    assert retry is not None
    assert (retry.problem.type, jobs(held)) == ("unknownIssuer", 1)
    assert retry.failures > 2
    assert "CertificateFailed" in dict(held.events())


def test_a_look_that_is_refused_puts_it_off_all_the_same(swept: JobWorld) -> None:
    ask(swept, asking(issuer="nosuch"))
    swept.policies.look = False
    passes(swept, 2)
    record = swept.record()
    assert record.phase is Phase.WAITING
    assert record.retry is not None
    assert record.retry.failures > 1


def test_with_an_ingress_left_the_secrets_own_hosts_leave(held: JobWorld) -> None:
    ask(held, asking(OTHER, issuer="nosuch"))
    held.clock.ahead += timedelta(seconds=5)
    held.apply(ingress(hosts=(HOST,), creationTimestamp="2026-01-01T00:00:00Z"))
    edit(held, labels={v.REQUEST: None})
    passes(held, 16, until=lambda: held.record().intent.hosts == (HOST,) and jobs(held) > 0)
    assert held.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(held))) == {HOST}


# A namespace that has its share of orders.


def crowded(world: JobWorld, *, most: int = 1) -> Launcher:
    """One process that has just launched for the namespace, which may have so many orders at a time."""
    world.set_options(activeOrdersPerNamespace=most)
    settings = SettingsCache(world.cluster)
    kept = Room(settings, clock=lambda: 0.0)  # what was counted stays true
    launcher = Launcher(world.cluster, settings, clock=world.clock.read, room=kept)
    assert admit(world, launcher, asking("one.certjob.dev", name="one")).reason is OutcomeReason.LAUNCHED
    world.run(secret="one")
    return launcher


def admit(world: JobWorld, launcher: Launcher, body: Json) -> LaunchOutcome:
    old = world.api.stored(SECRETS, "shop", body["metadata"]["name"])
    decision = decided(world, body, old)
    (entry,) = decision.launch
    deadline = time.monotonic() + 30
    outcome = launcher.launch(entry, namespace="shop", deadline=deadline, expect_new=old is None)
    world.api.add(SECRETS, "shop", jsonpatch.apply_patch(body, list(decision.patch)))
    return outcome


@pytest.fixture
def retired(swept: JobWorld) -> JobWorld:
    issue_asked(swept)
    delete(swept)
    passes(swept, 20, until=lambda: swept.record().phase is Phase.RETIRED)
    assert swept.record().phase is Phase.RETIRED
    return swept


def test_one_made_anew_in_a_crowded_namespace_is_ordered_by_the_sweep(retired: JobWorld) -> None:
    outcome = admit(retired, crowded(retired), asking())
    assert outcome.reason is OutcomeReason.PUT_OFF
    assert "it has its turn later" in (outcome.warning or "")
    assert retired.record().phase is Phase.WAITING
    passes(retired, 2, until=lambda: retired.record().phase is Phase.LAUNCHED)
    assert retired.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(retired))


def test_other_hosts_in_a_crowded_namespace_are_ordered_by_the_sweep(swept: JobWorld) -> None:
    issue_asked(swept)
    outcome = admit(swept, crowded(swept), asking(OTHER))
    assert outcome.reason is OutcomeReason.PUT_OFF
    passes(swept, 2, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(swept))) == {OTHER}


def test_an_attempt_that_runs_is_left_alone_in_a_crowded_namespace(
    swept: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(swept, asking())
    launcher = crowded(swept, most=2)
    attempt = swept.pod()
    attempt.load()
    attempt.claim()
    attempt.advance(transitions.ordering, directory=swept.server, account="https://ca.dev/account/1")
    monkeypatch.setattr(room, "FIRST", 0)
    monkeypatch.setattr(pace, "LEAST", 1)
    before = swept.record()
    assert admit(swept, launcher, asking(OTHER)).reason is OutcomeReason.PUT_OFF
    assert swept.record() == before
