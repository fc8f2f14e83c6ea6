"""Whoever applies by GitOps sees no warnings: each reason for getting nothing is an Event, too, once per cause."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt.events import lasting
from issuer_job.cluster.api import EVENTS, INGRESSES, NAMESPACES, SECRETS, Json
from issuer_job.demand.ingress import wants, with_entry
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.outcome import LEFT_OUT
from issuer_job.record.record import Phase, Retry
from issuer_job.upkeep.untouched import MOST_SAID
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.samples import NOW, PROBLEM, record
from tests.worlds.sweep import MINUTE, issue_one, jobs, orders, passes, run, writes_nothing

pytestmark = pytest.mark.exhaustive


def add(world: JobWorld, body: Json) -> Json:
    """Stored as the webhook leaves it: it warns, and admits."""
    return world.api.add(INGRESSES, "shop", body)


def told(world: JobWorld, name: str = "web") -> list[tuple[str, str]]:
    found = [e for e in world.api.all(EVENTS) if (e["regarding"]["name"], e["type"]) == (name, "Warning")]
    return [(event["reason"], event["note"]) for event in found]


def odd(**spec: Any) -> Json:
    body = ingress()
    body["spec"] |= spec
    return body


NOTHING = {
    "wildcard": (ingress(hosts=("*.certjob.dev",)), "a wildcard needs DNS-01"),
    "private name": (ingress(hosts=("printer.local",)), "is a private name"),
    "no domain": (ingress(hosts=("intranet",)), "is a private name"),
    "unknown issuer": (ingress(annotations={v.ISSUER: "nobody"}), "unknown issuer nobody"),
    "bad key algorithm": (ingress(annotations={v.KEY_ALGORITHM: "dsa"}), "not one of"),
    "no hosts": (odd(tls=[{"secretName": "web-tls"}], rules=[]), "no hosts in its spec.tls entry"),
    "no hosts and no tls": (odd(tls=None, rules=[{}]), "no host in spec.rules"),
    "no secretName": (odd(tls=[{"hosts": ["a.certjob.dev"]}]), "has no secretName"),
    "bad secretName": (odd(tls=[{"hosts": ["a.certjob.dev"], "secretName": "x" * 254}]), "cannot be the name"),
    "too many hosts": (ingress(hosts=tuple(f"h{n}.certjob.dev" for n in range(101))), "at most 100"),
}


@pytest.mark.parametrize(("body", "words"), NOTHING.values(), ids=NOTHING)
def test_what_gets_nothing_is_told_once(swept: JobWorld, body: Json, words: str) -> None:
    add(swept, body)
    run(swept)
    [(reason, note)] = told(swept)
    assert reason == "CertificateFailed"
    assert words in note
    assert (jobs(swept), writes_nothing(swept)) == (0, True)


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        ({"allowedNamespaces": ["vip"]}, "is not for namespace shop"),
        ({"ingressClasses": ["nginx"]}, "is not for this Ingress class"),
        ({"server": 1}, "server"),
    ],
    ids=["namespace", "class", "broken"],
)
def test_so_is_what_its_issuer_keeps_from_it(swept: JobWorld, issuer: Json, words: str) -> None:
    swept.set_issuer(**issuer)
    add(swept, ingress())
    run(swept)
    [(reason, note)] = told(swept)
    assert (reason, words in note) == ("CertificateFailed", True), note


def test_another_cause_is_told_anew_and_what_is_put_right_no_more(swept: JobWorld) -> None:
    stored = add(swept, ingress(hosts=("*.certjob.dev",)))
    run(swept)
    stored["spec"] = ingress(hosts=("intranet",))["spec"]
    add(swept, stored)
    run(swept)
    causes = {"DNS-01", "is a private name"}
    assert {cause for _, note in told(swept) for cause in causes if cause in note} == causes
    stored["spec"] = ingress()["spec"]
    add(swept, stored)
    passes(swept, 1)
    assert (len(told(swept)), swept.record().phase) == (2, Phase.LAUNCHED)


def test_an_entry_that_is_wrong_is_told_beside_one_that_is_issued(swept: JobWorld) -> None:
    good = {"hosts": ["a.certjob.dev"], "secretName": "good"}
    add(swept, odd(tls=[good, {"hosts": ["*.certjob.dev"], "secretName": "bad"}]))
    run(swept)
    assert [reason for reason, _ in told(swept)] == ["CertificateFailed"]
    assert swept.record("good").phase is Phase.LAUNCHED


def test_a_wish_that_cannot_be_read_costs_no_certificate_and_is_told_as_that(swept: JobWorld) -> None:
    add(swept, ingress(annotations={v.RENEW_BEFORE: "soon"}))
    run(swept)
    [(reason, note)] = told(swept)
    assert reason == "CertificateSettingIgnored"
    assert v.RENEW_BEFORE in note
    assert swept.record().phase is Phase.LAUNCHED


def test_one_with_a_hundred_faults_is_one_event_with_room_for_some(swept: JobWorld) -> None:
    add(swept, odd(tls=None, rules=[{"host": f"*.h{n}.certjob.dev"} for n in range(100)]))
    run(swept)
    [(_, note)] = told(swept)
    assert len(note) < MOST_SAID + 100
    assert "more like these" in note


def hosts(letter: str, number: int) -> tuple[str, ...]:
    return tuple(f"{letter}{n}.certjob.dev" for n in range(number))


def test_the_one_that_goes_over_a_hundred_hosts_is_told_and_the_others_go_on(swept: JobWorld) -> None:
    first, second = ingress("first", hosts=hosts("a", 60)), ingress("second", hosts=hosts("b", 40))
    first["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    issue_one(swept, first)
    swept.apply(second)
    swept.run()
    before = swept.record()
    assert (before.phase, len(before.intent.hosts)) == (Phase.ISSUED, 100)
    [outcome] = swept.apply(ingress("first", hosts=hosts("a", 70)))
    assert outcome.warning == f"Secret web-tls: {LEFT_OUT}"
    passes(swept, 2)
    assert [(reason, LEFT_OUT in note) for reason, note in told(swept, "first")] == [("CertificateFailed", True)]
    assert told(swept, "second") == []
    assert swept.record().issued == before.issued
    swept.relaunch()
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().intent == before.intent


def test_one_more_that_has_no_room_at_all_is_told(swept: JobWorld) -> None:
    issue_one(swept, ingress("first", hosts=hosts("a", 100)))
    swept.apply(ingress("late", hosts=("late.certjob.dev",)))
    passes(swept, 1)
    assert [LEFT_OUT in note for _, note in told(swept, "late")] == [True]
    assert swept.record().phase is Phase.ISSUED


def opted_out(body: Json) -> Json:
    return body | {"metadata": body["metadata"] | {"annotations": {v.TLS_ACME: "false"}}}


def test_one_that_opts_out_before_its_first_certificate_is_told_what_becomes_of_the_placeholder(
    swept: JobWorld,
) -> None:
    swept.apply(ingress())
    stored = swept.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    add(swept, opted_out(stored))
    assert swept.run() is v.ExitCode.LATER
    run(swept)
    [(reason, note)] = told(swept)
    assert reason == "CertificateFailed"
    assert "a placeholder, which goes in ten minutes: take its entry out of spec.tls" in note
    passes(swept, 4)
    assert (swept.record().phase, swept.api.stored(SECRETS, "shop", "web-tls")) == (Phase.RETIRED, None)
    assert (len(told(swept)), writes_nothing(swept)) == (1, True)


@pytest.mark.parametrize("how", ["opted out", "hangs in deletion"])
def test_one_that_asks_no_more_for_what_it_serves_is_told(swept: JobWorld, how: str) -> None:
    issue_one(swept)
    stored = swept.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    stored["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    add(swept, stored if how == "hangs in deletion" else opted_out(ingress()))
    passes(swept, 4)
    assert ["is not renewed" in note for _, note in told(swept)] == [True]
    assert (swept.record().phase, jobs(swept), writes_nothing(swept)) == (Phase.RETIRED, 1, True)
    assert_good_secret(swept)


def test_one_that_serves_what_another_asks_for_is_not_bothered(swept: JobWorld) -> None:
    issue_one(swept)
    add(swept, opted_out(ingress("second")))
    add(swept, opted_out(ingress("third", secret="theirs")))
    passes(swept, 1)
    assert (told(swept, "second"), told(swept, "third")) == ([], [])


def test_a_namespace_that_opts_in_late_has_every_ingress_in_it_looked_after(swept: JobWorld) -> None:
    named, bare = ingress("named"), ingress("bare", hosts=("bare.certjob.dev",))
    for body in (named, bare):
        body["metadata"]["annotations"] = {}
        add(swept, body)
    del bare["spec"]["tls"]
    add(swept, bare)
    run(swept)
    assert (jobs(swept), swept.api.all(EVENTS)) == (0, [])
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert_good_secret(swept)
    assert [reason for reason, _ in told(swept, "bare")] == ["CertificateMissed"]
    swept.set_options(completeTls=True)
    passes(swept, 2)
    completed = swept.api.stored(INGRESSES, "shop", "bare")
    assert completed is not None
    secret = completed["spec"]["tls"][0]["secretName"]
    assert swept.run(secret=secret) is v.ExitCode.DONE
    assert_good_secret(swept, ("bare.certjob.dev",), secret)


def test_one_whose_last_host_went_past_the_webhook_keeps_its_certificate_and_is_told(swept: JobWorld) -> None:
    """certjob's own entry stays in spec.tls until the webhook sees the Ingress again."""
    body = odd(tls=None)
    added = wants(body, issuers=SettingsCache(swept.cluster).issuers()).added
    assert added is not None
    body = with_entry(body, added)
    issue_one(swept, body, secret=added.secret_name)
    without = body | {"spec": body["spec"] | {"rules": [{}]}}
    add(swept, without)
    passes(swept, 4)
    [(reason, note)] = told(swept)
    assert (reason, "no host in spec.rules" in note) == ("CertificateFailed", True)
    assert (swept.record(added.secret_name).phase, orders(swept)) == (Phase.ISSUED, 1)
    assert_good_secret(swept, secret=added.secret_name)
    assert writes_nothing(swept)
    add(swept, body)
    passes(swept, 1)
    assert (swept.record(added.secret_name).phase, orders(swept)) == (Phase.ISSUED, 1)


def failures(world: JobWorld, name: str = "web") -> list[str]:
    return [note for reason, note in told(world, name) if reason == "CertificateFailed"]


def test_a_problem_that_lasts_is_told_again_before_its_event_is_gone(swept: JobWorld) -> None:
    """An Event lives for an hour; whoever may read nothing in certjob sees why nothing comes all the same."""
    swept.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"}}
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.PERMANENT
    [first] = failures(swept)
    began, seen = swept.clock.read(), [swept.clock.read()]
    for _ in range(30):
        before = len(failures(swept))
        swept.api.requests.clear()
        passes(swept, 1)
        asked = [r for r in swept.api.requests if (r.method, r.path) == ("POST", EVENTS.path("shop"))]
        assert len(asked) <= 1
        if len(failures(swept)) > before:
            seen.append(swept.clock.read())
    gaps = [later - sooner for sooner, later in pairwise(seen)]
    assert timedelta(minutes=25) <= gaps[0] <= timedelta(minutes=55)
    assert all(timedelta(minutes=45) <= gap <= timedelta(minutes=55) for gap in gaps[1:])
    assert seen[-1] - began > timedelta(hours=1.5)
    assert set(failures(swept)) == {first}  # word for word
    assert jobs(swept) == 1


def test_thousands_that_failed_together_are_told_again_one_after_the_other() -> None:
    turns, retry = Counter[int](), Retry(problem=PROBLEM, failures=1, intent_hash="")
    for number in range(300):
        failed = replace(record(Phase.FAILED), retry=retry, since=NOW, secret_name=f"s{number}")
        passed = ((minutes, NOW + timedelta(minutes=minutes)) for minutes in range(0, 200, 5))
        said = [(at, news.unique) for at, now in passed if (news := lasting(failed, now, interval=5 * MINUTE))]
        written = {unique for _, unique in said}
        assert len(written) in {3, 4}
        assert len(said) <= 2 * len(written)  # asked for again at worst, which is a 409
        turns[said[0][0]] += 1
    assert set(turns) == {30, 35, 40, 45, 50}
    assert max(turns.values()) < 90


def test_what_waits_for_a_limit_for_days_is_told_again_as_that(swept: JobWorld) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    issue_one(swept)
    swept.apply(ingress(annotations={v.KEY_ALGORITHM: "rsa-2048"}))
    passes(swept, 12 * 3)
    notes = [note for reason, note in told(swept) if reason == "CertificateHeldBack"]
    assert len(notes) >= 4
    assert len(set(notes)) == 1


def test_what_nobody_wants_any_more_is_told_no_more(swept: JobWorld) -> None:
    swept.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"}}
    swept.apply(ingress())
    swept.run()
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 13)
    assert len(failures(swept)) == 1
