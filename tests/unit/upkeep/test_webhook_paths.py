"""The way in: paths that only the API server knows, that no apply wipes; and from 0.1.0 to them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import ENDPOINT_SLICES, MUTATING_WEBHOOKS, SECRETS, Cluster, Json
from issuer_job.upkeep.webhook import configuration, pods, rotation
from tests.fakes.api import FakeApi
from tests.fakes.hostile import hostile_server, slowly
from webhook.door import configured_paths

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = tuple(configuration.SENT)
FIXED = {f"/mutate/{kind}" for kind in KINDS}


def manifest(name: str = v.WEBHOOK_CONFIGURATION) -> Json:
    """As an apply makes it; with the name of 0.1.0 as that had it."""
    former = name == v.FORMER_WEBHOOK_CONFIGURATION
    service = {"name": v.WEBHOOK_SERVICE, "namespace": v.NAMESPACE, "port": 443}
    more: dict[str, Any] = {"rules": [{"operations": ["CREATE"]}]} if former else {}
    entries = [
        {
            "name": f"{kind}.certjob.io",
            "failurePolicy": "Ignore",
            "clientConfig": {"service": service | ({"path": f"/mutate/{kind}"} if former else {})},
        }
        | more
        for kind in KINDS
    ]
    return {"metadata": {"name": name}, "webhooks": entries}


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.add(MUTATING_WEBHOOKS, None, manifest())
    return api


def entries(api: FakeApi, name: str = v.WEBHOOK_CONFIGURATION) -> list[Json]:
    stored = api.stored(MUTATING_WEBHOOKS, None, name)
    assert stored is not None
    found: list[Json] = stored["webhooks"]
    return found


def paths(api: FakeApi) -> list[str]:
    return [entry["clientConfig"]["service"]["path"] for entry in entries(api)]


def rotate(api: FakeApi, *behind: str, now: datetime = NOW) -> list[str]:
    return rotation.rotate(Cluster(api), now=now, lacking=lambda *_: list(behind))


def test_each_entry_has_a_path_of_its_own_and_is_sent_what_it_is_for(api: FakeApi) -> None:
    rotate(api)
    for kind, path, entry in zip(KINDS, paths(api), entries(api), strict=True):
        assert re.fullmatch(rf"/mutate/{kind}/[0-9a-f]{{64}}", path)
        [rule] = entry["rules"]
        assert (*rule["apiGroups"], *rule["resources"], *rule["operations"]) == configuration.SENT[kind]
    assert len({path.rpartition("/")[2] for path in paths(api)}) == len(KINDS)
    assert configured_paths(Cluster(api)) == set(paths(api))


def test_no_object_but_the_configuration_has_a_token(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    rotate(api)
    for path in paths(api):
        token = path.rpartition("/")[2]
        assert token not in str(api.all(SECRETS))
        assert token not in caplog.text
        assert token not in str([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize("path", ["", "/", "/mutate/annotated", "/mutate/request/" + "a" * 64, "/mutate/annotated/A"])
def test_a_path_without_a_token_of_its_kind_is_mended_and_the_others_stay(api: FakeApi, path: str) -> None:
    rotate(api)
    before = paths(api)
    stored = manifest() | {"webhooks": entries(api)}
    stored["webhooks"][0]["clientConfig"]["service"]["path"] = path
    api.add(MUTATING_WEBHOOKS, None, stored)
    rotate(api)
    assert paths(api)[1:] == before[1:]
    assert re.fullmatch(r"/mutate/annotated/[0-9a-f]{64}", paths(api)[0])
    assert paths(api)[0] != before[0]


def test_with_another_ca_come_other_tokens_and_nothing_else_changes_them(api: FakeApi) -> None:
    rotate(api)
    first = paths(api)
    for day in (1, 16, 100, 200):
        rotate(api, now=NOW + day * DAY)
        assert paths(api) == first
    rotate(api, "10.0.0.1", now=NOW + 250 * DAY)
    second = paths(api)
    assert not set(first) & set(second)
    rotate(api, now=NOW + 251 * DAY)
    assert paths(api) == second


def test_rules_and_entries_of_an_operators_own_stay(api: FakeApi) -> None:
    own = manifest()
    own["webhooks"][0]["rules"] = [{"operations": ["CREATE"]}]
    own["webhooks"].append({"name": "own.example.com", "clientConfig": {"url": "https://example.com/"}})
    api.add(MUTATING_WEBHOOKS, None, own)
    rotate(api)
    assert entries(api)[0]["rules"] == [{"operations": ["CREATE"]}]
    assert entries(api)[-1]["clientConfig"].keys() == {"url", "caBundle"}
    assert "rules" not in entries(api)[-1]


# From 0.1.0.


@pytest.fixture
def upgraded(api: FakeApi) -> FakeApi:
    """Just after the apply: both configurations, and nobody has filled in anything of the new one."""
    api.add(MUTATING_WEBHOOKS, None, manifest(v.FORMER_WEBHOOK_CONFIGURATION))
    return api


def test_while_a_pod_does_not_know_the_new_paths_the_old_configuration_does_the_work(upgraded: FakeApi) -> None:
    for day in (0, 16, 250):
        assert rotate(upgraded, "10.0.0.1", now=NOW + day * DAY) == ["10.0.0.1"]
        assert not configuration.sends({"webhooks": entries(upgraded)})
        former = entries(upgraded, v.FORMER_WEBHOOK_CONFIGURATION)
        assert all(entry["rules"] for entry in former)
        assert {e["clientConfig"]["caBundle"] for e in former} == {
            e["clientConfig"]["caBundle"] for e in entries(upgraded)
        }
        assert configured_paths(Cluster(upgraded)) == FIXED | set(paths(upgraded))


def test_once_all_know_them_it_is_sent_nothing_more_and_nobody_gets_in_by_what_everybody_knows(
    upgraded: FakeApi,
) -> None:
    rotate(upgraded, "10.0.0.1")
    before = paths(upgraded)
    assert rotate(upgraded) == []
    assert configuration.sends({"webhooks": entries(upgraded)})
    assert not any("rules" in entry for entry in entries(upgraded, v.FORMER_WEBHOOK_CONFIGURATION))
    assert configured_paths(Cluster(upgraded)) == set(before) == set(paths(upgraded))
    writes = [r.path.rpartition("/")[2] for r in upgraded.requests if r.method == "PUT"][-2:]
    assert writes == [v.WEBHOOK_CONFIGURATION, v.FORMER_WEBHOOK_CONFIGURATION]  # never none of them
    upgraded.requests.clear()
    rotate(upgraded)
    assert {request.method for request in upgraded.requests} == {"GET"}


def test_a_way_back_an_apply_of_the_old_manifest_works_at_once(upgraded: FakeApi) -> None:
    rotate(upgraded)
    old = manifest(v.FORMER_WEBHOOK_CONFIGURATION)
    for entry, kept in zip(old["webhooks"], entries(upgraded, v.FORMER_WEBHOOK_CONFIGURATION), strict=True):
        entry["clientConfig"]["caBundle"] = kept["clientConfig"]["caBundle"]
    upgraded.add(MUTATING_WEBHOOKS, None, old)
    assert configured_paths(Cluster(upgraded)) == FIXED | set(paths(upgraded))
    assert old["webhooks"][0]["clientConfig"]["caBundle"] == entries(upgraded)[0]["clientConfig"]["caBundle"]


def test_install_waits_for_the_pods_to_come(upgraded: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = [["10.0.0.1"], ["10.0.0.1"], []]
    monkeypatch.setattr(rotation, "PAUSE", 0.0)
    assert rotation.rotate(Cluster(upgraded), now=NOW, patience=60, lacking=lambda *_: behind.pop(0)) == []
    assert configuration.sends({"webhooks": entries(upgraded)})


# A CA that was stolen.


def test_a_stolen_ca_is_replaced_with_all_that_came_of_it_once_the_pods_show_the_new_one(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(api)
    before, bundle = paths(api), entries(api)[0]["clientConfig"]["caBundle"]
    secrets = {secret["metadata"]["name"]: secret["data"] for secret in api.all(SECRETS)}
    behind, seen = [["10.0.0.1"], []], list[str]()

    def lacking(cluster: Cluster, ca_pem: bytes, path: str) -> list[str]:
        seen.append(entries(api)[0]["clientConfig"]["caBundle"])
        return behind.pop(0)

    monkeypatch.setattr(rotation, "PAUSE", 0.0)
    done = rotation.replace_authority(Cluster(api), now=NOW + DAY, patience=60, lacking=lacking)
    assert done is v.ExitCode.DONE
    assert len(seen) == 2
    now = entries(api)[0]["clientConfig"]["caBundle"]
    assert len(seen[0]) > len(now)  # both, until then
    assert bundle not in now
    assert not set(before) & set(paths(api))
    for secret in api.all(SECRETS):
        assert not set(secret["data"].values()) & set(secrets[secret["metadata"]["name"]].values())


def test_a_stolen_ca_is_not_trusted_any_longer_than_that_whatever_pods_show(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rotate(api)
    bundle = entries(api)[0]["clientConfig"]["caBundle"]
    done = rotation.replace_authority(Cluster(api), now=NOW, patience=0, lacking=lambda *_: ["10.0.0.1"])
    assert done is v.ExitCode.LATER
    assert bundle not in entries(api)[0]["clientConfig"]["caBundle"]
    [record] = [record for record in caplog.records if record.message == "authority-replaced"]
    assert record.__dict__["fields"]["behind"] == ["10.0.0.1"]
    assert "rollout restart" in record.__dict__["fields"]["do"]


# Clocks.


@pytest.mark.parametrize("ahead", [-400, -30, 30, 400])
def test_a_sweep_whose_clock_is_wrong_goes_by_the_api_servers(api: FakeApi, ahead: int) -> None:
    api.date = format_datetime(NOW, usegmt=True)
    rotate(api)
    before = (api.all(SECRETS), entries(api))
    api.date = format_datetime(NOW + DAY, usegmt=True)
    rotate(api, now=NOW + ahead * DAY)
    assert (api.all(SECRETS), entries(api)) == before


@pytest.mark.parametrize("lost", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_an_api_server_that_does_not_say_the_time(api: FakeApi, lost: str) -> None:
    api.date = lost
    rotate(api)
    assert len(api.all(SECRETS)) == 2


def test_what_a_clock_that_was_ahead_has_made_is_made_anew(api: FakeApi) -> None:
    rotate(api, now=NOW + 30 * DAY)
    ahead = {secret["metadata"]["name"]: secret["data"] for secret in api.all(SECRETS)}
    rotate(api, now=NOW)
    for secret in api.all(SECRETS):
        assert secret["data"] != ahead[secret["metadata"]["name"]]


# Which pods are asked.


def test_a_pod_that_drips_its_answer_holds_no_sweep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotation is the first thing that a sweep does."""
    monkeypatch.setattr(pods, "PATIENCE", 0.2)
    monkeypatch.setattr(pods, "DNS_NAMES", ("127.0.0.1",))
    with hostile_server() as server:
        server.answer = lambda path: slowly(b"HTTP/1.1 200 " + b"O" * 200)
        port, started = int(server.base.rpartition(":")[2]), time.monotonic()
        assert pods.answer(("127.0.0.1", port), server.ca_pem, "/mutate") is None
        assert time.monotonic() - started < 2
    assert server.paths == ["/mutate"]


@pytest.mark.parametrize(
    ("conditions", "answer", "lacks"),
    [
        ({"ready": True, "serving": True}, pods.KNOWN, False),
        ({"ready": True, "serving": True}, 404, True),
        ({"ready": True, "serving": True}, 0, True),
        ({"ready": True, "serving": True}, None, True),
        ({}, None, True),
        ({"ready": False, "serving": True, "terminating": True}, 404, True),
        ({"ready": False, "serving": False, "terminating": True}, 404, True),
        ({"ready": False, "serving": False}, None, False),
        ({"ready": False, "serving": False}, pods.KNOWN, False),
    ],
)
def test_a_pod_that_may_be_sent_something_must_know(
    api: FakeApi, conditions: Json, answer: int | None, lacks: bool
) -> None:
    labels = {"kubernetes.io/service-name": v.WEBHOOK_SERVICE}
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": conditions}]
    piece = {"metadata": {"name": "a", "labels": labels}, "ports": [{"port": 8443}], "endpoints": endpoints}
    api.add(ENDPOINT_SLICES, v.NAMESPACE, piece)
    asked: list[tuple[tuple[str, int], bytes, str]] = []

    def ask(pod: tuple[str, int], ca_pem: bytes, path: str) -> int | None:
        asked.append((pod, ca_pem, path))
        return answer

    assert pods.lacking(Cluster(api), b"PEM", "/mutate/x", ask=ask) == (["10.0.0.1"] if lacks else [])
    assert asked == [(("10.0.0.1", 8443), b"PEM", "/mutate/x")]


READY, NOT_READY = {"ready": True, "serving": True}, {"ready": False, "serving": True, "terminating": True}


@pytest.mark.parametrize(("at_first", "then", "polls"), [(READY, READY, 0), ({}, {}, 0), (NOT_READY, READY, 1)])
def test_a_pod_that_is_ready_is_waited_for_and_that_each_node_knows_it(
    api: FakeApi, at_first: Json, then: Json, polls: int
) -> None:
    def is_there(conditions: Json) -> None:
        labels = {"kubernetes.io/service-name": v.WEBHOOK_SERVICE}
        endpoints = [{"addresses": ["10.0.0.1"], "conditions": conditions}]
        piece = {"metadata": {"name": "a", "labels": labels}, "ports": [{"port": 8443}], "endpoints": endpoints}
        api.add(ENDPOINT_SLICES, v.NAMESPACE, piece)

    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        is_there(then)

    is_there(at_first)
    pods.wait_ready(Cluster(api), until=time.monotonic() + 60, sleep=sleep)
    assert slept == [pods.POLL] * polls + [pods.SETTLE]


def test_pods_that_do_not_come_are_not_waited_for_for_ever(api: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError

    pods.wait_ready(Cluster(api), until=time.monotonic(), sleep=sleep)
    assert "webhook-not-ready" in caplog.text


def test_the_certificate_is_in_place_before_the_webhook_is_sent_anything(api: FakeApi) -> None:
    def opening() -> None:
        known.append((api.stored(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET) is not None, paths(api)))
        assert not any(entry.get("rules") for entry in entries(api))

    known: list[tuple[bool, list[str]]] = []
    for _ in range(2):
        rotation.rotate(Cluster(api), now=NOW, opening=opening)
    assert known == [(True, paths(api))]
