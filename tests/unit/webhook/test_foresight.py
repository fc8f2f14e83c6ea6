"""What a dry run tells: all that can be seen, and nothing is left behind."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.demand.ingress import wants
from issuer_job.hosts.claims import claim_body
from issuer_job.issuers.load import issuer_version
from issuer_job.issuers.state import CHECK_RESULT, CHECKED_VERSION, NOT_READY, note_in_state
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.room import Room
from issuer_job.record.store import to_config_map
from tests.fakes.api import status
from tests.fakes.webhook_parts import FakeForesight, FakeLauncher, FakeLosses, FakeSettings, fake_metrics
from tests.worlds import reviews
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.request import asking
from tests.worlds.sweep import issue_one, run, with_webhook
from webhook.admission import Admission
from webhook.decide_ingress import IngressPolicy
from webhook.decide_secret import SecretPolicy
from webhook.foresight import Foresight
from webhook.policy import MAX_ENTRIES, MAX_HOSTS

FREE = f"Secret web-tls: certificate for 1 host would be ordered from {ISSUER}"
OTHER = ingress("other", secret="other-tls", hosts=("o.certjob.dev",))
TAKEN = f"{HOST} belongs to another namespace: no certificate"


def foresight(world: JobWorld) -> Foresight:
    settings = SettingsCache(world.cluster)
    return Foresight(world.cluster, settings, Room(settings, now=world.clock.read), clock=world.clock.read)


def told(world: JobWorld, body: Json | None = None) -> list[str]:
    """Of an Ingress that is applied as a dry run; nothing is written."""
    settings, before = SettingsCache(world.cluster), len(world.api._store.history)
    [entry] = wants(body or ingress(), issuers=settings.issuers()).entries
    said = foresight(world).warnings(entry, namespace="shop", deadline=time.monotonic() + 30)
    assert len(world.api._store.history) == before
    return list(said)


def claim(world: JobWorld, host: str, namespace: str, *, checked: bool = True) -> None:
    world.api.add(
        CONFIGMAPS, v.NAMESPACE, claim_body(host, namespace, checked=world.clock.read() if checked else None)
    )


def test_a_host_that_nobody_has_would_be_ordered(world: JobWorld) -> None:
    assert told(world) == [FREE]
    assert [c for c in world.api.all(CONFIGMAPS) if v.CLAIM in c["metadata"]["labels"]] == []


@pytest.mark.parametrize("checked", [True, False])
def test_anothers_host_is_told(world: JobWorld, checked: bool) -> None:
    claim(world, HOST, "other", checked=checked)
    assert told(world) == [TAKEN]


def test_so_is_one_that_anothers_wildcard_covers(world: JobWorld) -> None:
    claim(world, "*.certjob.dev", "other", checked=False)
    assert told(world) == [TAKEN]


def test_one_that_is_its_own_is_free_for_it(world: JobWorld) -> None:
    claim(world, HOST, "shop", checked=False)
    claim(world, "*.certjob.dev", "shop")
    assert told(world) == [FREE]


def test_one_that_becomes_free_is_told_with_the_time(world: JobWorld) -> None:
    body = claim_body(HOST, "other", checked=world.clock.read())
    since = (world.clock.read() + timedelta(minutes=1)).isoformat(timespec="seconds")
    body["metadata"]["annotations"] |= {v.UNNAMED_SINCE: since, v.UNNAMED_SEEN: since}
    world.api.add(CONFIGMAPS, v.NAMESPACE, body)
    [said] = told(world)
    assert said.startswith(f"{HOST} belongs to another namespace until ")


def test_the_operators_list_counts(world: JobWorld) -> None:
    world.set_options(hostPolicy="allow-list", allowedHosts=[{"namespaces": ["team-*"], "suffixes": [HOST]}])
    assert told(world) == [f"{HOST} is not allowed in this namespace: no certificate"]


def test_a_namespace_that_has_all_it_may_have(world: JobWorld) -> None:
    world.set_options(certificatesPerNamespace=1)
    issue_one(world, OTHER, secret="other-tls")
    [said] = told(world)
    assert "1 certificates" in said


def test_one_whose_orders_are_many_just_now(world: JobWorld) -> None:
    world.set_options(activeOrdersPerNamespace=1)
    world.apply(OTHER)
    assert told(world) == ["Secret web-tls: many orders in this namespace just now, it has its turn later"]


def test_an_issuer_whose_last_test_failed_unless_it_was_edited_since(world: JobWorld) -> None:
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert stored is not None
    found = {CHECK_RESULT: NOT_READY, CHECKED_VERSION: issuer_version(stored)}
    note_in_state(world.cluster, ISSUER, world.server, found)
    assert told(world) == [f"issuer {ISSUER} is not ready, its last test says: an operator has to put it right"]
    note_in_state(world.cluster, ISSUER, world.server, {CHECKED_VERSION: "another"})
    assert told(world) == [FREE]


def test_a_limit_that_is_used_up(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 1})
    issue_one(world, OTHER, secret="other-tls")
    run(with_webhook(world))
    [said] = told(world)
    assert "held back until" in said


def test_a_certificate_that_is_there_is_nothing_to_tell(world: JobWorld) -> None:
    issue_one(world)
    assert told(world) == []


def test_what_waits_after_a_failure_is_told_as_at_apply(world: JobWorld) -> None:
    world.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:connection", "detail": "no"}}
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    [said] = told(world)
    assert said.startswith("Secret web-tls: failed (connection), again at ")


def test_a_record_that_cannot_be_read_and_an_api_server_that_does_not_answer(world: JobWorld) -> None:
    world.apply(ingress())
    damaged = to_config_map(world.record())
    damaged["data"][v.RECORD_KEY] = "{"
    world.api.add(CONFIGMAPS, v.NAMESPACE, damaged)
    assert told(world) == ["its record cannot be read: an operator has to delete ConfigMap shop.web-tls"]
    world.api.fail("GET", f"/configmaps/{names.record('shop', 'web-tls')}", status(503, "ServiceUnavailable"))
    assert told(world) == ["Secret web-tls: not all could be looked at (API server: 503 ServiceUnavailable)"]


def test_a_renewal_that_is_asked_for_counts_against_the_limits(world: JobWorld) -> None:
    world.set_issuer(limits={"perExactSet": 1})
    issue_one(world)
    run(with_webhook(world))
    world.clock.ahead += timedelta(hours=2)
    [said] = told(world, ingress(annotations={v.RENEW: f"{world.clock.read():%Y-%m-%dT%H:%M:%SZ}"}))
    assert "held back until" in said


def dry_run(made: Admission, *secret_names: str, hosts: int = 1, dry: bool = True) -> list[str]:
    """The warnings of an Ingress with these Secrets, for so many hosts each."""
    body = reviews.ingress()
    body["spec"]["tls"] = [
        {"secretName": name, "hosts": [f"h{number}.certjob.dev" for number in range(hosts)]} for name in secret_names
    ]
    document = json.dumps(reviews.review(body, dryRun=dry)).encode()
    reply = made.admit(document, IngressPolicy(namespace_enabled=False), started=time.monotonic())
    return [said.removeprefix("certjob: ") for said in json.loads(reply)["response"].get("warnings", [])]


def admission(seen: FakeForesight, launcher: FakeLauncher, *, budget: float = 4) -> Admission:
    return Admission(launcher, seen, FakeSettings(), FakeLosses(), fake_metrics(), budget=budget)


def test_a_dry_run_looks_and_launches_nothing_and_what_is_applied_launches_and_looks_at_nothing() -> None:
    seen, launcher = FakeForesight({"a": (TAKEN,)}), FakeLauncher()
    assert dry_run(admission(seen, launcher), "a", "b") == [TAKEN]
    assert (sorted(seen.looked), launcher.launched) == ([("shop", "a"), ("shop", "b")], [])
    dry_run(admission(seen, launcher), "c", dry=False)
    assert (len(seen.looked), launcher.launched) == (2, [("shop", "c")])


def test_as_many_are_looked_at_as_there_is_time_for() -> None:
    for secret_names, hosts, looked in (("abcdefgh", 1, MAX_ENTRIES), ("abc", MAX_HOSTS, 1), ("a", MAX_HOSTS + 1, 1)):
        seen = FakeForesight()
        dry_run(admission(seen, FakeLauncher()), *secret_names, hosts=hosts)
        assert len(seen.looked) == looked


def test_what_is_not_known_in_time_is_no_reason_to_wait() -> None:
    gate = threading.Event()
    try:
        [said] = dry_run(admission(FakeForesight(gate=gate), FakeLauncher(), budget=0.1), "a")
        assert said.startswith("not all of it could be looked at in time")
    finally:
        gate.set()


def test_a_secret_that_asks_is_looked_at_too_and_never_refused_for_it(world: JobWorld) -> None:
    claim(world, HOST, "other")
    settings = SettingsCache(world.cluster)
    made = Admission(FakeLauncher(), foresight(world), settings, FakeLosses(), fake_metrics())
    body = asking()
    kind = {"group": "", "version": "v1", "kind": "Secret"}
    document = json.dumps(reviews.review(body, kind=kind, dryRun=True)).encode()
    answer = json.loads(made.admit(document, SecretPolicy(), started=time.monotonic()))["response"]
    assert (answer["allowed"], answer["warnings"]) == (True, [f"certjob: {TAKEN}"])
    assert world.api.all(SECRETS, "shop") == []
