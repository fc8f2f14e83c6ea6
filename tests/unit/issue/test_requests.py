"""Certificates without an Ingress, from the Secret that asks to its certificate: admission and Job."""

from __future__ import annotations

import time
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from certs.chain import dns_names
from certs.placeholder import is_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, INGRESSES, JOBS
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase, SourceKind
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.request import (
    NAME,
    ask,
    asking,
    decided,
    delete,
    edit,
    issue_asked,
    leaf,
    metadata,
)
from tests.worlds.sweep import jobs, orders, secret_is_there

OTHER = "db.certjob.dev"


def test_it_is_issued_and_its_owners_words_stay(world: JobWorld) -> None:
    ask(world, asking(f"{OTHER}, {HOST}", issuer=ISSUER))
    assert is_placeholder(leaf(world))
    assert world.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(world))) == {HOST, OTHER}
    assert not is_placeholder(leaf(world))
    found = metadata(world)
    assert found["labels"] == {v.REQUEST: "true", "team": "shop", v.MANAGED: "true", v.STATE: "issued"}
    notes = dict(found["annotations"])
    assert notes.pop(v.NOT_AFTER) == f"{leaf(world).not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert notes == {v.HOSTS: f"{OTHER}, {HOST}", v.ISSUER: ISSUER, "example.org/note": "mine"}
    record = world.record()
    (source,) = record.sources
    assert (source.kind, source.name, source.uid) == (SourceKind.SECRET, NAME, found["uid"])
    assert record.phase is Phase.ISSUED
    assert world.left_over() == []
    assert orders(world) == 1


def test_nobody_creates_the_secret_before_its_owner_does(world: JobWorld) -> None:
    ask(world, asking(), stored=False)
    assert not secret_is_there(world)
    assert world.run() is v.ExitCode.LATER
    assert not secret_is_there(world)
    assert world.record().phase is Phase.UNCONFIRMED
    assert orders(world) == 0


def test_the_event_is_on_the_secret(world: JobWorld) -> None:
    issue_asked(world)
    (event,) = world.api.all(EVENTS)
    assert event["reason"] == "CertificateIssued"
    about = {key: event["regarding"][key] for key in ("apiVersion", "kind", "namespace", "name", "uid")}
    expected = {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": NAME}
    assert about == expected | {"uid": metadata(world)["uid"]}


def test_a_failure_is_told_on_the_secret(world: JobWorld) -> None:
    ask(world, asking(formats="keystore.p12"))
    assert world.run() is v.ExitCode.LATER
    (event,) = world.api.all(EVENTS)
    assert (event["reason"], event["regarding"]["kind"]) == ("CertificateFailed", "Secret")
    assert "pkcs12-password" in event["note"]


def test_the_live_secret_wins_over_what_admission_saw(world: JobWorld) -> None:
    ask(world, asking())
    edit(world, hosts=OTHER)
    assert world.run() is v.ExitCode.DONE
    assert world.record().intent.hosts == (OTHER,)
    assert set(dns_names(leaf(world))) == {OTHER}


@pytest.mark.parametrize("change", [{v.REQUEST: None}, {v.REQUEST: "false"}])
def test_a_secret_that_asks_no_more_gets_nothing(world: JobWorld, change: dict[str, str | None]) -> None:
    ask(world, asking())
    edit(world, labels=change)
    assert world.run() is v.ExitCode.LATER
    assert world.record().phase is Phase.UNCONFIRMED
    assert orders(world) == 0


def test_a_secret_that_is_deleted_during_the_order_is_not_made_again(world: JobWorld) -> None:
    ask(world, asking())
    attempt = world.pod()
    advance = attempt.advance

    def deleting(arrow: Any, **details: Any) -> None:
        if arrow.__name__ == "installing" and secret_is_there(world):
            delete(world)
        advance(arrow, **details)

    attempt.advance = deleting  # type: ignore[method-assign]
    assert world.issue(attempt) is v.ExitCode.LATER
    assert not secret_is_there(world)
    assert world.record().phase is Phase.ORPHANED
    assert world.left_over() == [names.pending_key(world.record().uid, world.record().epoch)]


def test_a_good_certificate_that_its_owner_brought_is_adopted(world: JobWorld) -> None:
    issue_asked(world)
    brought = {key: b64encode(value).decode() for key, value in world.secret()["data"].items()}
    delete(world)
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.record("shop", NAME))
    before = orders(world)
    world.clock.ahead += timedelta(seconds=5)
    ask(world, asking(data=brought))
    assert world.run() is v.ExitCode.DONE
    assert orders(world) == before
    assert world.record().phase is Phase.ISSUED
    assert metadata(world)["labels"][v.STATE] == "issued"


def test_an_annotation_makes_one_known_again_whose_record_is_lost(world: JobWorld) -> None:
    issue_asked(world)
    before = world.secret()["data"]
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.record("shop", NAME))
    world.clock.ahead += timedelta(seconds=5)
    ask(world, asking(retry="1790000000"))
    assert world.run() is v.ExitCode.DONE
    assert world.secret()["data"] == before
    assert (world.record().phase, orders(world)) == (Phase.ISSUED, 1)


def test_a_secret_made_anew_gets_a_new_certificate(world: JobWorld) -> None:
    issue_asked(world)
    delete(world)
    world.clock.ahead += timedelta(seconds=5)
    (outcome,) = ask(world, asking())
    assert outcome.reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(world))
    assert orders(world) == 2


def test_creating_what_is_there_launches_nothing(world: JobWorld) -> None:
    issue_asked(world)
    world.clock.ahead += timedelta(seconds=5)
    settings = SettingsCache(world.cluster)
    (entry,) = decided(world, asking(), None).launch  # the API server refuses it only afterwards
    launcher = Launcher(world.cluster, settings, clock=world.clock.read)
    outcome = launcher.launch(entry, namespace="shop", deadline=time.monotonic() + 30, expect_new=True)
    assert outcome.reason is OutcomeReason.UNCHANGED
    assert jobs(world) == 1


def test_the_same_manifest_again_launches_and_changes_nothing(world: JobWorld) -> None:
    issue_asked(world)
    before = world.secret()
    (outcome,) = ask(world, asking())
    assert outcome.reason is OutcomeReason.UNCHANGED
    after = world.secret()
    assert after["data"] == before["data"]
    for kind in ("labels", "annotations"):
        assert after["metadata"][kind] == before["metadata"][kind]


def test_other_hosts_are_ordered_while_the_old_certificate_stays(world: JobWorld) -> None:
    issue_asked(world)
    before = leaf(world)
    world.clock.ahead += timedelta(seconds=5)
    ask(world, asking(f"{HOST},{OTHER}"))
    assert leaf(world) == before
    assert world.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(world))) == {HOST, OTHER}


def test_an_ingress_and_the_secret_that_it_names_share_a_certificate(world: JobWorld) -> None:
    issue_asked(world)
    world.clock.ahead += timedelta(seconds=5)
    world.apply(ingress(hosts=(OTHER,), secret=NAME))
    assert world.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(world))) == {HOST, OTHER}
    assert {source.kind for source in world.record().sources} == {SourceKind.SECRET, SourceKind.INGRESS}
    assert metadata(world)["annotations"][v.HOSTS] == HOST
    kinds = [event["regarding"]["kind"] for event in world.api.all(EVENTS)]
    assert sorted(kinds) == ["Ingress", "Secret", "Secret"]


def test_routes_have_the_issuers_own_class(world: JobWorld) -> None:
    world.set_issuer(solvers=[{"http01": {"ingressClass": "inner"}}])
    ask(world, asking())
    (route,) = world.api.all(INGRESSES, v.NAMESPACE)
    assert route["spec"]["ingressClassName"] == "inner"
    assert len(world.api.all(JOBS)) == 1
    assert world.run() is v.ExitCode.DONE
