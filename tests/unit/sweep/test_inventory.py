"""What a pass reads of the whole cluster."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, LIST_ROUNDS, NAMESPACES, Cluster, Json, KubeError
from issuer_job.hosts.at_sweep import read_claims
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.limits import PlannedOrder
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.launch.jobs import FINISHED
from issuer_job.record.record import Counted, HistoryEntry, LedgerEntry, Phase, Record
from issuer_job.record.store import fresh, from_config_map, to_config_map
from issuer_job.sweep.inventory import Live, read_enabled, read_jobs, read_known, read_live
from tests.fakes.api import FakeApi, status
from tests.worlds.job import HOST, ingress
from tests.worlds.samples import NOW, record

ISSUERS = Issuers({"le": Issuer(server="https://ca.certjob.dev/directory")}, {"bad": "no server"}, default="le")
SHOP = ("shop", "web-tls")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def live(api: FakeApi, *bodies: Json, known: bool = True) -> Live:
    """`known`: there is a record for the Secret, and a claim of the host."""
    for body in bodies:
        api.add(INGRESSES, body["metadata"]["namespace"], body)
    if known and not api.all(CONFIGMAPS):
        store(api, record(Phase.ISSUED))
        for host in (HOST, "b.certjob.dev"):
            api.add(CONFIGMAPS, v.NAMESPACE, claim_body(host, "shop"))
    records = read_known(Cluster(api), now=NOW).records
    claimed = {claim.host for claim in read_claims(Cluster(api))}
    return read_live(Cluster(api), ISSUERS, records, claimed=claimed)


def store(api: FakeApi, wanted: Record) -> Record:
    body = to_config_map(replace(wanted, uid="", resource_version=""))
    return from_config_map(api.add(CONFIGMAPS, v.NAMESPACE, body))


def test_what_an_ingress_wants_and_names(api: FakeApi) -> None:
    found = live(api, ingress(), ingress("second", hosts=("b.certjob.dev",)))
    assert [entry.source.name for entry in found.entries[SHOP]] == ["second", "web"]
    assert found.named_by[SHOP] == {"Ingress/web", "Ingress/second"}
    assert all(("shop", host) in found.namers for host in (HOST, "b.certjob.dev"))
    assert (found.count, found.bare) == (2, [])


def test_who_does_not_opt_in_is_known_by_its_hosts_only(api: FakeApi) -> None:
    found = live(api, ingress(annotations={v.TLS_ACME: "false"}))
    assert (dict(found.entries), dict(found.named_by)) == ({}, {})
    assert ("shop", HOST) in found.namers


@pytest.mark.parametrize("notes", [{v.ISSUER: "bad"}, {v.ISSUER: "nowhere"}, {v.KEY_ALGORITHM: "none"}])
def test_who_has_something_wrong_is_named_all_the_same(api: FakeApi, notes: dict[str, str]) -> None:
    found = live(api, ingress(annotations=notes))
    assert dict(found.entries) == {}
    assert found.named_by[SHOP] == {"Ingress/web"}


def test_who_is_being_deleted_wants_nothing_and_names_its_host_until_it_is_gone(api: FakeApi) -> None:
    found = live(api, ingress(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert (dict(found.entries), dict(found.named_by)) == ({}, {})
    assert ("shop", HOST) in found.namers


@pytest.mark.parametrize("namespace", [v.NAMESPACE, v.SYSTEM_NAMESPACE])
def test_excluded_namespaces(api: FakeApi, namespace: str) -> None:
    found = live(api, ingress(namespace=namespace))
    assert (dict(found.entries), dict(found.named_by)) == ({}, {})


def test_challenge_routes_are_no_owners_of_hosts_but_others_ingresses_are(api: FakeApi) -> None:
    found = live(api, ingress(namespace="certjob"), ingress(namespace="kube-system"))
    assert ("certjob", HOST) not in found.namers
    assert ("kube-system", HOST) in found.namers


def bare(**metadata: object) -> Json:
    body = ingress(**metadata)  # type: ignore[arg-type]
    del body["spec"]["tls"]
    return body


def test_an_empty_spec_tls_is_bare(api: FakeApi) -> None:
    found = live(api, bare())
    assert [asker.name for asker in found.bare] == ["web"]
    assert dict(found.entries) == {}


def test_certjobs_own_entry_is_an_entry(api: FakeApi) -> None:
    marker = f"added-tls {names.digest(HOST)}"
    found = live(api, ingress(secret="added-tls", annotations={v.TLS_ENTRY: marker}))
    assert found.bare == []
    assert [entry.secret_name for entry in found.entries["shop", "added-tls"]] == ["added-tls"]


def test_a_bare_one_that_cannot_be_certified_is_nobodys_business(api: FakeApi) -> None:
    assert live(api, bare(annotations={v.ISSUER: "bad"})).bare == []


def test_namespaces_that_are_opted_in(api: FakeApi) -> None:
    for name, label in (("yes", "true"), ("no", "false"), ("none", None)):
        labels = {v.NAMESPACE_ENABLED: label} if label else {}
        api.add(NAMESPACES, None, {"metadata": {"name": name, "labels": labels}})
    assert read_enabled(Cluster(api)) == {"yes"}
    bodies = [ingress(namespace=name) for name in ("yes", "no")]
    for body in bodies:
        body["metadata"]["annotations"] = {}
    assert set(live(api, *bodies).entries) == {("yes", "web-tls")}


@pytest.mark.parametrize("times", range(LIST_ROUNDS))
def test_a_list_that_expires_starts_again_from_nothing(api: FakeApi, times: int) -> None:
    api.fail("GET", r"v1/ingresses\?", status(410, "Expired"), times=times)
    assert live(api, ingress()).count == 1


@pytest.mark.parametrize("kind", ["ingresses", "namespaces", "configmaps", "jobs"])
@pytest.mark.parametrize("answer", [410, 500])
def test_half_a_list_is_no_list(api: FakeApi, kind: str, answer: int) -> None:
    api.fail("GET", rf"/{kind}\?", status(answer, "Expired"), times=99)
    cluster = Cluster(api)
    with pytest.raises(KubeError):  # noqa: PT012 - whichever reads that kind
        read_known(cluster, now=NOW)
        read_jobs(cluster)
        read_claims(cluster)
        read_live(cluster, ISSUERS, {}, claimed=())


def test_records_are_kept_small_and_counted(api: FakeApi) -> None:
    entry = LedgerEntry(at=NOW, kind=Counted.ORDER, issuer="le")
    history = (HistoryEntry(at=NOW, epoch=int(NOW.timestamp()), event="launched"),)
    full = store(api, replace(record(Phase.ISSUED), ledger=(entry,), history=history, attempt=None))
    known = read_known(Cluster(api), now=NOW + timedelta(hours=2))
    assert known.records == {SHOP: replace(full, ledger=(), history=())}
    limits = ISSUERS.valid["le"].limits
    held = known.ledger.allowed(None, PlannedOrder("le", replace(limits, orders=1), ("a.dev",)), NOW)
    assert held is not None
    assert known.leftover_keys == {SHOP}


def test_a_record_that_cannot_be_read_is_left_out(api: FakeApi) -> None:
    store(api, record(Phase.ISSUED))
    bad = {"metadata": {"name": "a.bad", "labels": {v.RECORD: "true"}}, "data": {v.RECORD_KEY: "{"}}
    api.add(CONFIGMAPS, v.NAMESPACE, bad)
    known = read_known(Cluster(api), now=NOW)
    assert (set(known.records), known.unreadable) == ({SHOP}, 1)


@pytest.mark.parametrize("condition", sorted(FINISHED))
@pytest.mark.parametrize(("value", "finished"), [("True", True), ("False", False)])
def test_a_job_that_is_over_or_just_ending(api: FakeApi, condition: str, value: str, finished: bool) -> None:
    conditions = [{"type": "Suspended", "status": "True"}, {"type": condition, "status": value}]
    api.add(JOBS, v.NAMESPACE, job("j") | {"status": {"conditions": conditions}})
    assert read_jobs(Cluster(api)) == {("u", 5): finished}


@pytest.mark.parametrize("body", [{}, {"status": {}}, {"status": {"conditions": None}}])
def test_a_job_that_has_just_been_made(api: FakeApi, body: Json) -> None:
    api.add(JOBS, v.NAMESPACE, job("j") | body)
    assert read_jobs(Cluster(api)) == {("u", 5): False}


@pytest.mark.parametrize("finished", [("True", "False"), ("False", "True")])
def test_an_attempt_with_two_jobs_has_ended_when_both_have(api: FakeApi, finished: tuple[str, str]) -> None:
    """One that 0.1.0 launched, and whatever is launched for the same epoch later."""
    for name, value in zip("ab", finished, strict=True):
        api.add(JOBS, v.NAMESPACE, job(name) | {"status": {"conditions": [{"type": "Complete", "status": value}]}})
    assert read_jobs(Cluster(api)) == {("u", 5): False}


def job(name: str) -> Json:
    return {"metadata": {"name": name, "labels": {v.RECORD_UID: "u", v.EPOCH: "5"}}}


def test_the_whole_record_if_it_is_the_one_that_was_listed(api: FakeApi) -> None:
    history = (HistoryEntry(at=NOW, epoch=5, event="issued"),)
    stored = store(api, replace(record(Phase.ISSUED), history=history))
    listed = replace(stored, history=())
    assert fresh(Cluster(api), listed) == stored
    store(api, replace(record(Phase.WAITING), history=history))
    assert fresh(Cluster(api), listed) is None
    api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    assert fresh(Cluster(api), listed) is None
