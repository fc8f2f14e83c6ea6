"""What a pass reads of the whole cluster, where tenants have written as much and as oddly as they can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, INGRESSES, Cluster, Json
from issuer_job.demand import ingress as reader
from issuer_job.demand.askers import Asker, list_askers
from issuer_job.hosts.at_sweep import read_claims
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.precedence import Namers
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.record.intents import MAX_SOURCES
from issuer_job.record.record import Phase, SourceKind
from issuer_job.sweep.inventory import NEW_IN_NAMESPACE, Live, read_live
from issuer_job.upkeep import untouched
from tests.fakes.api import FakeApi
from tests.fakes.bounded import BoundedTransport, OnePage
from tests.worlds.costs import cost_of, hostile_ingress
from tests.worlds.job import HOST, ingress
from tests.worlds.samples import record

pytestmark = pytest.mark.exhaustive

ISSUERS = Issuers({"le": Issuer(server="https://ca.certjob.dev/directory")}, {}, default="le")
SHOP = ("shop", "web-tls")


@pytest.fixture
def api() -> FakeApi:
    """With an innocent Ingress between the hostile ones, and its claim."""
    api = FakeApi()
    api.add(INGRESSES, "shop", ingress())
    api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOST, "shop"))
    return api


def add(api: FakeApi, body: Json, namespace: str = "evil") -> None:
    body["metadata"] |= {"namespace": namespace}
    api.add(INGRESSES, namespace, body)


def read(api: FakeApi) -> Live:
    claimed = {claim.host for claim in read_claims(Cluster(api))}
    return read_live(Cluster(BoundedTransport(api)), ISSUERS, {SHOP: record(Phase.ISSUED)}, claimed=claimed)


def innocent(live: Live) -> bool:
    return [entry.source.name for entry in live.entries[SHOP]] == ["web"] and ("shop", HOST) in live.namers


def test_one_ingress_with_thousands_of_rules_and_entries(api: FakeApi) -> None:
    add(api, hostile_ingress(rules=2000, entries=2000))
    taken = cost_of(lambda: read(api))
    assert taken.seconds < 0.5
    live = read(api)
    assert (innocent(live), live.count, live.trouble) == (True, 2, 0)
    assert [(one.asker.namespace, one.asker.name) for one in live.untold] == [("evil", "hostile")]


@pytest.mark.parametrize("opted_in", [True, False])
def test_ingresses_with_tens_of_thousands_of_hosts(opted_in: bool) -> None:
    """Neither are their hosts kept nor are all decoded at once."""
    body = hostile_ingress(rules=30_000)
    body["metadata"] |= {"uid": "u", "annotations": body["metadata"]["annotations"] if opted_in else {}}
    pages = OnePage.of([body] * 5)
    live = Live(namers=Namers(only=frozenset({HOST})))

    def read_page() -> None:
        for asker in list_askers(Cluster(pages)):
            live.add(asker, ISSUERS, enabled=False, records={})

    taken = cost_of(read_page)
    assert len(pages.body) > 4_000_000
    assert taken.seconds < 1
    assert taken.mib < 12
    assert not live.entries


def test_of_hosts_below_a_wildcard_only_the_oldest_moment_is_kept() -> None:
    namers = Namers(only=frozenset({HOST, f"*.{HOST}"}))
    body = ingress(hosts=tuple(f"n{n}.{HOST}" for n in range(2000)), namespace="evil")
    body["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    asker = Asker(SourceKind.INGRESS, body)
    namers.add(asker)
    assert cost_of(lambda: [namers.add(asker) for _ in range(5)]).mib < 1
    assert namers.somebody_was_there("shop", f"*.{HOST}", claimed=datetime.now(UTC))
    assert ("evil", f"n7.{HOST}") not in namers


def test_an_object_that_brings_out_a_bug_costs_nobody_else_the_pass(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it cost its own owner the record."""
    wants = reader.wants

    def buggy(body: Json, **more: object) -> object:
        if body["metadata"]["name"] == "odd":
            raise ZeroDivisionError("a bug")
        return wants(body, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "wants", buggy)
    add(api, ingress("odd"), "shop")
    live = read(api)
    assert (innocent(live), live.trouble) == (True, 1)
    assert live.named_by[SHOP] == {"Ingress/web", "Ingress/odd"}
    assert "a bug" in caplog.text


def test_a_namespace_with_more_new_certificates_than_a_pass_looks_at(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(NEW_IN_NAMESPACE // 500 + 1):
        body = hostile_ingress(name=f"many-{number}")
        body["spec"]["tls"] = [{"secretName": f"s{number}-{n}", "hosts": [f"h{n}.evil.dev"]} for n in range(500)]
        add(api, body)
    live = read(api)
    assert innocent(live)
    assert sum(namespace == "evil" for namespace, _ in live.entries) == NEW_IN_NAMESPACE
    assert live.left_out == {"evil": 500}
    assert "left-out" in caplog.text


def test_thousands_of_ingresses_on_one_secret(api: FakeApi) -> None:
    """The oldest ones count, in the pass as in the record."""
    for number in range(1000):
        body = ingress(f"i{number:04}", secret="shared")
        body["metadata"]["creationTimestamp"] = f"{datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=number):%FT%TZ}"
        add(api, body, "shop")
    live = read(api)
    names = {entry.source.name for entry in live.entries["shop", "shared"]}
    assert names == {f"i{number:04}" for number in range(1000 - MAX_SOURCES, 1000)}


def test_at_most_so_many_are_told_in_a_pass_each_namespace_in_turn(api: FakeApi) -> None:
    for number in range(untouched.MOST + 10):
        body = hostile_ingress(rules=1, name=f"bare-{number}")
        add(api, body)
        large = hostile_ingress(rules=2001, name=f"large-{number}")
        add(api, large)
    add(api, hostile_ingress(rules=2001), "other")
    live, now = read(api), datetime.now(UTC)
    cluster = Cluster(api)
    untouched.tell(cluster, live.untold, now=now)
    assert len(api.all(EVENTS)) == untouched.MOST
    (told,) = api.all(EVENTS, "other")
    assert "split the Ingress" in told["note"]
    untouched.complete_or_tell(cluster, live.bare, ISSUERS, Options(), now=now)
    assert len(api.all(EVENTS)) == 2 * untouched.MOST
