"""The view's gauges: what is told of certificates, issuers and sweeps at each scrape."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.issuers.state import CHECK_RESULT, NOT_READY, ORDERS, READY, state_body
from issuer_job.record import transitions
from issuer_job.record.record import Phase, Problem, Retry
from tests.worlds.samples import HOSTS, NOW, issued, record
from tests.worlds.view import ViewWorld, issuer_object

SERVER = "https://ca.certjob.dev/dir"
LIFE = timedelta(days=90)
GOOD = issued(not_before=NOW, not_after=NOW + LIFE, at=NOW)
WEB = (("issuer_name", "le"), ("name", "web-tls"), ("namespace", "shop"))


def retry(kind: str = "dns", failures: int = 2) -> Retry:
    problem = Problem(type=kind, detail="no", host=HOSTS[0])
    return Retry(problem=problem, failures=failures, intent_hash="x", not_before=NOW + timedelta(minutes=4))


@pytest.fixture
def world() -> ViewWorld:
    return ViewWorld()


def test_a_good_certificate_is_told_in_full(world: ViewWorld) -> None:
    world.first(record(Phase.ISSUED, issued=GOOD))
    told = world.told()
    assert told["certificate_ready"] == {WEB: 1}
    assert told["certificate_not_before_timestamp_seconds"] == {WEB: NOW.timestamp()}
    assert told["certificate_not_after_timestamp_seconds"] == {WEB: (NOW + LIFE).timestamp()}
    [due] = told["certificate_renewal_timestamp_seconds"].values()
    assert NOW.timestamp() < due < (NOW + LIFE * 0.71).timestamp()
    assert "certificate_failures" not in told
    counted = {labels: value for labels, value in told["certificates"].items() if value}
    assert counted == {(("issuer_name", "le"), ("ready", "true"), ("state", "Issued")): 1}
    assert len(told["certificates"]) == 12


def test_it_is_ready_no_more_when_it_has_ended_though_nothing_was_written(world: ViewWorld) -> None:
    world.first(record(Phase.ISSUED, issued=replace(GOOD, not_before=NOW + timedelta(seconds=1))))
    assert world.told()["certificate_ready"] == {WEB: 0}  # the CA's clock is ahead
    world.later(seconds=1)
    assert world.told()["certificate_ready"] == {WEB: 1}
    world.later(days=90)
    assert world.told()["certificate_ready"] == {WEB: 0}


def test_what_fails_is_told_by_its_type_and_what_does_not_is_not(world: ViewWorld) -> None:
    world.first(record(Phase.WAITING, retry=retry()))
    told = world.told()
    assert told["certificate_ready"] == {WEB: 0}
    assert told["certificate_failures"] == {tuple(sorted((*WEB, ("type", "dns")))): 2}
    assert "certificate_not_after_timestamp_seconds" not in told
    world.put(record(Phase.WAITING, retry=retry("urn:somebody:else", 3)))
    assert world.told()["certificate_failures"] == {tuple(sorted((*WEB, ("type", "other")))): 3}
    world.put(record(Phase.ISSUED, issued=GOOD))
    assert "certificate_failures" not in world.told()


def test_what_nobody_wants_is_counted_and_has_no_series(world: ViewWorld) -> None:
    world.first(record(Phase.ORPHANED, issued=GOOD))
    told = world.told()
    assert "certificate_ready" not in told
    assert "certificate_not_after_timestamp_seconds" not in told
    assert {labels for labels, value in told["certificates"].items() if value} == {
        (("issuer_name", "le"), ("ready", "true"), ("state", "Gone"))
    }


def test_what_is_gone_leaves_nothing_and_another_issuer_no_old_series(world: ViewWorld) -> None:
    made = record(Phase.ISSUED, issued=GOOD)
    world.first(made)
    other = replace(made.intent, settings=replace(made.intent.settings, issuer="ca"))
    world.put(replace(made, intent=other))
    assert [dict(labels)["issuer_name"] for labels in world.told()["certificate_ready"]] == ["ca"]
    world.snapshot.certificates.drop({"metadata": {"name": made.name}})
    assert "certificate_ready" not in world.told()


def test_what_is_of_no_issuer_is_counted_as_that_however_many_names_there_are(world: ViewWorld) -> None:
    made = record(Phase.WAITING, retry=retry("unknownIssuer"))
    world.first()
    for number in range(20):
        intent = replace(made.intent, settings=replace(made.intent.settings, issuer=f"mine-{number}"))
        world.put(replace(made, intent=intent, secret_name=f"s-{number}"))
    found = world.told()["certificates"]
    assert {dict(labels)["issuer_name"] for labels in found} == {"le", "unknown"}
    assert sum(found.values()) == 20


def test_a_record_that_cannot_be_read_is_told_and_its_readiness_is_not(
    world: ViewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.first()
    for _ in range(3):
        world.snapshot.certificates.put({"metadata": {"name": "shop.web-tls"}, "data": {v.RECORD_KEY: "{"}})
    assert caplog.text.count("record-unreadable") == 1
    told = world.told()
    assert "certificate_ready" not in told
    assert [dict(labels) for labels in told["certificate_failures"]] == [
        {"namespace": "shop", "name": "web-tls", "issuer_name": "", "type": "recordUnreadable"}
    ]


def test_beyond_a_number_only_what_is_pressing_has_series_of_its_own(world: ViewWorld) -> None:
    from webhook.view.metrics import certificate_gauges

    old = replace(GOOD, not_before=NOW - LIFE, not_after=NOW + timedelta(days=10))
    world.first(
        record(Phase.ISSUED, issued=GOOD, secret_name="good"),
        record(Phase.ISSUED, issued=old, secret_name="old"),
        record(Phase.WAITING, issued=GOOD, retry=retry(), secret_name="failing"),
        record(Phase.ORDERING, secret_name="new"),
        record(Phase.RETIRED, secret_name="gone"),
    )
    for most, names_told, truncated in ((4, {"good", "old", "failing", "new"}, 0), (3, {"old", "failing", "new"}, 1)):
        samples = certificate_gauges(world.snapshot.certificates.rows(), now=NOW.timestamp(), most=most)
        told = {family.name: list(found) for family, found in samples}
        assert {labels[1] for labels, _ in told["certificate_ready"]} == names_told
        assert told["view_truncated"] == [((), truncated)]


def test_issuers_are_told_once_they_are_tested(world: ViewWorld) -> None:
    world.first()
    assert "issuer_ready" not in world.told()
    for result, ready in ((READY, 1), (NOT_READY, 0)):
        world.snapshot.states.put(state_body("le", SERVER, {CHECK_RESULT: result}))
        assert world.told()["issuer_ready"] == {(("issuer_name", "le"),): ready}
    world.snapshot.issuers.put(issuer_object("le", "server: [\n"))
    assert world.told()["issuer_ready"] == {(("issuer_name", "le"),): 0}
    world.snapshot.issuers.drop(issuer_object())
    assert "issuer_ready" not in world.told()


def test_of_limits_the_most_used_counts(world: ViewWorld) -> None:
    world.first()
    end = int(NOW.timestamp()) + 100
    times = {"orders ": [end] * 250, "domain a.dev": [end] * 30, "domain b.dev": [end] * 40 + [end - 200] * 5}
    world.snapshot.states.put(state_body("le", SERVER, {ORDERS: json.dumps({"at": 1, "times": times})}))
    told = world.told()
    used = {dict(labels)["limit"]: value for labels, value in told["issuer_limit_used"].items()}
    assert used == {"orders": 250, "domain": 40, "set": 0, "failures": 0}
    most = {dict(labels)["limit"]: value for labels, value in told["issuer_limit"].items()}
    assert most == {"orders": 300, "domain": 50, "set": 5, "failures": 5}
    world.snapshot.issuers.put(issuer_object("le", f"server: {SERVER}\nlimits: {{orders: 0}}\n"))
    assert {dict(labels)["limit"] for labels in world.told()["issuer_limit"]} == {"domain", "set", "failures"}


def test_a_state_with_what_no_job_writes_costs_nothing(world: ViewWorld) -> None:
    world.first()
    world.snapshot.states.put(state_body("le", SERVER, {ORDERS: "x" * (1 << 19), CHECK_RESULT: READY}))
    held = world.snapshot.states.of("le", SERVER)
    assert held is not None
    assert set(held.data) == {CHECK_RESULT}
    assert world.told()["issuer_ready"] == {(("issuer_name", "le"),): 1}
    assert names.issuer_state("le", SERVER)


def test_the_whole_life_of_a_certificate_is_followed(world: ViewWorld) -> None:
    made = record(Phase.WANTED, secret_name="web-tls")
    world.first(made)
    seen = []
    for phase in (Phase.WANTED, Phase.LAUNCHED, Phase.ISSUED, Phase.RETIRED):
        world.put(record(phase, issued=GOOD if phase in {Phase.ISSUED, Phase.RETIRED} else None))
        seen += [dict(labels)["state"] for labels, value in world.told()["certificates"].items() if value]
    assert seen == ["Waiting", "Issuing", "Issued", "Gone"]
    assert transitions
