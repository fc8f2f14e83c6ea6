"""Certificates without an Ingress, from the Secret that asks to the end: admission, Job, sweep."""

from __future__ import annotations

import time
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12
from msgspec.structs import replace

from certs.chain import dns_names
from certs.placeholder import is_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.issue import issue
from issuer_job.kube import CONFIGMAPS, EVENTS, INGRESSES, JOBS, SECRETS, Json
from issuer_job.launch import Launcher, OutcomeReason
from issuer_job.record import Kind, Phase, Renewal
from issuer_job.settings import SettingsCache
from tests.job_world import HOST, ISSUER, JobWorld, ingress
from tests.request_world import NAME, ask, asking, decided, delete, edit
from tests.sweep_world import jobs, orders, passes, run, secret_is_there, write, writes_nothing

OTHER = "db.certjob.dev"
HOUR = timedelta(hours=1)


def leaf(world: JobWorld) -> x509.Certificate:
    return x509.load_pem_x509_certificates(world.secret()["data"]["tls.crt"])[0]


def metadata(world: JobWorld) -> dict[str, Any]:
    found: dict[str, Any] = world.secret()["metadata"]
    return found


def issue_asked(world: JobWorld, body: Json | None = None) -> None:
    ask(world, body or asking())
    assert world.run() is v.ExitCode.DONE


def passwords(world: JobWorld, **keys: str) -> None:
    data = {name.replace("_", "-"): b64encode(value.encode()).decode() for name, value in keys.items()}
    name = names.credentials(ISSUER)
    world.api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": name}, "data": data})


def make_due(world: JobWorld) -> None:
    record, now = world.record(), world.clock.read()
    assert record.issued is not None
    due = Renewal(check_after=now + 24 * HOUR, at=now - HOUR, start=now - HOUR, end=now + HOUR)
    write(world, replace(record, issued=replace(record.issued, renewal=due, at=now - timedelta(days=60))))


# Job.


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
    assert (source.kind, source.name, source.uid) == (Kind.SECRET, NAME, found["uid"])
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
    assert issue(attempt) is v.ExitCode.LATER
    assert not secret_is_there(world)
    assert world.record().phase is Phase.ORPHANED
    assert world.left_over() == [names.pending_key("shop", NAME, world.record().epoch)]


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
    assert {source.kind for source in world.record().sources} == {Kind.SECRET, Kind.INGRESS}
    assert metadata(world)["annotations"][v.HOSTS] == HOST
    kinds = [event["regarding"]["kind"] for event in world.api.all(EVENTS)]
    assert sorted(kinds) == ["Ingress", "Secret", "Secret"]


def test_what_an_operator_has_to_put_right_is_written_down_and_tried_after_the_edit(swept: JobWorld) -> None:
    (outcome,) = ask(swept, asking(issuer="later"))
    assert outcome.reason is OutcomeReason.HELD_UP
    assert swept.record().phase is Phase.WAITING
    assert jobs(swept) == 0
    passes(swept, 2)
    assert orders(swept) == 0
    swept.set_issuer("later", default=False)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))


def test_a_host_of_another_namespace_is_written_down_and_tried_again(swept: JobWorld) -> None:
    claim = {"metadata": {"name": names.claim(HOST), "labels": {v.CLAIM: "true"}}}
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim | {"data": {"host": HOST, "namespace": "other"}})
    (outcome,) = ask(swept, asking())
    assert outcome.reason is OutcomeReason.HOST_CLAIMED
    record = swept.record()
    assert record.retry is not None
    assert (record.phase, record.retry.problem.type) == (Phase.WAITING, "hostClaimed")
    passes(swept, 3)
    assert jobs(swept) >= 1


# Sweep.


def test_it_stays_wanted_although_nobody_can_list_it(swept: JobWorld) -> None:
    issue_asked(swept)
    passes(swept, 30)
    assert swept.record().phase is Phase.ISSUED
    assert writes_nothing(swept)
    assert (jobs(swept), orders(swept)) == (1, 1)
    assert swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST)) is not None


def test_it_is_looked_at_at_least_once_an_hour(swept: JobWorld) -> None:
    issue_asked(swept)
    before = len(looks(swept))
    passes(swept, 12)
    assert len(looks(swept)) == before + 1


def looks(world: JobWorld) -> list[str]:
    return [r.path for r in world.api.requests if r.method == "PUT" and r.path.endswith(f"/secrets/{NAME}")]


def test_deleting_the_secret_ends_it_without_a_job(swept: JobWorld) -> None:
    issue_asked(swept)
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.ORPHANED)
    assert swept.record().phase is Phase.ORPHANED
    passes(swept, 4)
    assert swept.record().phase is Phase.RETIRED
    assert not secret_is_there(swept)
    assert jobs(swept) == 1
    assert swept.left_over() == []
    passes(swept, 3)
    assert swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST)) is None


@pytest.mark.parametrize("issued", [True, False])
def test_taking_the_label_away_ends_it_and_the_secret_stays(swept: JobWorld, issued: bool) -> None:
    ask(swept, asking())
    if issued:
        swept.run()
    edit(swept, labels={v.REQUEST: None})
    if not issued:
        swept.run()
    before = swept.secret()
    passes(swept, 20, until=lambda: swept.record().phase is Phase.RETIRED)
    assert swept.record().phase is Phase.RETIRED
    assert swept.secret() == before


def test_a_placeholder_of_its_owners_is_never_deleted(swept: JobWorld) -> None:
    ask(swept, asking(), stored=False)
    swept.run()
    assert swept.record().phase is Phase.UNCONFIRMED
    stored = asking(data={"tls.crt": "", "tls.key": ""})
    stored["metadata"]["labels"] |= {v.MANAGED: "true", v.STATE: "placeholder"}
    stored["metadata"]["labels"].pop(v.REQUEST)
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 4)
    assert swept.record().phase is Phase.RETIRED
    assert secret_is_there(swept)


def test_a_secret_that_was_stored_late_is_found_before_its_record_retires(swept: JobWorld) -> None:
    ask(swept, asking(), stored=False)
    swept.run()
    assert swept.record().phase is Phase.UNCONFIRMED
    stored = asking(data={"tls.crt": "", "tls.key": ""})
    stored["metadata"]["labels"] |= {v.MANAGED: "true", v.STATE: "placeholder"}
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 4, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))


def test_one_that_comes_back_in_time_is_taken_up_again(swept: JobWorld) -> None:
    issue_asked(swept)
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.ORPHANED)
    ask(swept, asking())
    assert swept.run() is v.ExitCode.DONE
    passes(swept, 5)
    assert swept.record().phase is Phase.ISSUED


def test_a_change_that_the_webhook_missed_is_found_by_a_look(swept: JobWorld) -> None:
    issue_asked(swept)
    edit(swept, hosts=f"{HOST} , {OTHER}")
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(swept))) == {HOST, OTHER}
    assert orders(swept) == 2


def test_damaged_data_is_repaired_in_place(swept: JobWorld) -> None:
    issue_asked(swept)
    before = metadata(swept)
    stored = swept.api.stored(SECRETS, "shop", NAME)
    assert stored is not None
    swept.api.add(SECRETS, "shop", stored | {"data": {"tls.crt": "eA==", "tls.key": ""}})
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))
    after = metadata(swept)
    assert after["uid"] == before["uid"]
    assert after["labels"] == before["labels"]


def test_a_renewal_keeps_what_its_owner_wrote(swept: JobWorld) -> None:
    issue_asked(swept, asking(issuer=ISSUER, renew_before="30d", formats="ca.crt"))
    before, old = metadata(swept), leaf(swept)
    make_due(swept)
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    after = metadata(swept)
    assert leaf(swept).serial_number != old.serial_number
    assert after["labels"] == before["labels"]
    assert set(after["annotations"]) == set(before["annotations"])
    assert all(
        after["annotations"][key] == value for key, value in before["annotations"].items() if key != v.NOT_AFTER
    )


def test_a_renewal_of_a_deleted_secret_ends_it(swept: JobWorld) -> None:
    issue_asked(swept)
    make_due(swept)
    delete(swept)
    run(swept)
    assert swept.record().phase is Phase.ORPHANED
    assert jobs(swept) == 1


def test_with_an_ingress_left_its_secret_is_made_again_for_that(swept: JobWorld) -> None:
    issue_asked(swept)
    swept.clock.ahead += timedelta(seconds=5)
    swept.apply(ingress(hosts=(HOST,), secret=NAME))
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert [source.kind for source in swept.record().sources] == [Kind.INGRESS]
    assert not is_placeholder(leaf(swept))


def test_with_an_ingress_left_the_hosts_of_the_label_that_is_gone_leave_after_the_grace(swept: JobWorld) -> None:
    issue_asked(swept, asking(OTHER))
    swept.clock.ahead += timedelta(seconds=5)
    swept.apply(ingress(hosts=(HOST,), secret=NAME))
    assert swept.run() is v.ExitCode.DONE
    edit(swept, labels={v.REQUEST: None})
    passes(swept, 16, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(swept))) == {HOST}


# Formats.


def test_formats_are_written_with_the_certificate(world: JobWorld) -> None:
    passwords(world, pkcs12_password="p12-pass\n", jks_password="jks-pass")
    wanted = "ca.crt,tls-combined.pem,keystore.p12,truststore.p12,keystore.jks,truststore.jks"
    issue_asked(world, asking(formats=wanted))
    data = world.secret()["data"]
    assert set(data) == {"tls.crt", "tls.key", *wanted.split(",")}
    store = pkcs12.load_pkcs12(data["keystore.p12"], b"p12-pass")
    assert store.cert is not None
    assert store.cert.certificate == leaf(world)
    assert data["keystore.jks"].startswith(bytes.fromhex("feedfeed00000002"))
    assert data["tls-combined.pem"] == data["tls.key"] + data["tls.crt"]


def test_formats_are_written_for_an_ingress_too(world: JobWorld) -> None:
    world.apply(ingress(annotations={v.FORMATS: "ca.crt"}))
    assert set(world.secret()["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    assert x509.load_pem_x509_certificate(data["ca.crt"]) == x509.load_pem_x509_certificates(data["tls.crt"])[-1]


def test_without_the_password_nothing_is_ordered_nor_written(world: JobWorld) -> None:
    passwords(world, jks_password="jks-pass")
    ask(world, asking(formats="ca.crt,keystore.p12,keystore.jks"))
    before = world.secret()
    assert world.run() is v.ExitCode.LATER
    record = world.record()
    assert record.retry is not None
    assert record.retry.problem.type == "passwordMissing"
    assert (
        "keystore.p12: the key pkcs12-password is missing in Secret credentials-test-ca"
        in record.retry.problem.detail
    )
    assert world.secret() == before
    assert orders(world) == 0


def test_formats_that_are_asked_for_later_take_no_order(world: JobWorld) -> None:
    issue_asked(world)
    before = world.secret()["data"]
    world.clock.ahead += timedelta(seconds=5)
    (outcome,) = ask(world, asking(formats="tls-combined.pem"))
    assert outcome.reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    assert data == before | {"tls-combined.pem": before["tls.key"] + before["tls.crt"]}
    assert orders(world) == 1
    record = world.record()
    assert record.issued is not None
    assert record.issued.intent_hash == record.intent.hash


def test_a_format_that_went_missing_is_put_back_without_an_order(swept: JobWorld) -> None:
    issue_asked(swept, asking(formats="ca.crt"))
    before = swept.secret()["data"]
    stored = swept.api.stored(SECRETS, "shop", NAME)
    assert stored is not None
    stored["data"].pop("ca.crt")
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert swept.secret()["data"] == before
    assert orders(swept) == 1
    passes(swept, 13)
    assert jobs(swept) == 2


def test_routes_have_the_issuers_own_class(world: JobWorld) -> None:
    world.set_issuer(solvers=[{"http01": {"ingressClass": "inner"}}])
    ask(world, asking())
    (route,) = world.api.all(INGRESSES, v.NAMESPACE)
    assert route["spec"]["ingressClassName"] == "inner"
    assert len(world.api.all(JOBS)) == 1
    assert world.run() is v.ExitCode.DONE
