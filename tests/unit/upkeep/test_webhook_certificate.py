"""The webhook's certificate and its caBundle, and what bootstrap makes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from certs import authority
from certs.chain import has_key, parse_chain
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, MUTATING_WEBHOOKS, SECRETS, Cluster, Json, KubeError, NotFound
from issuer_job.issuers.load import Issuers
from issuer_job.upkeep.bootstrap import bootstrap, make_account_keys
from issuer_job.upkeep.webhook import rotation
from tests.fakes.api import FakeApi, status

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("annotated.certjob.io", "request.certjob.io")
PAIR = (v.WEBHOOK_CA_SECRET, v.WEBHOOK_TLS_SECRET)


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    webhooks = [{"name": name, "clientConfig": {"service": {"name": "certjob-webhook"}}} for name in NAMES]
    api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": v.WEBHOOK_CONFIGURATION}, "webhooks": webhooks})
    return api


def data(api: FakeApi, name: str, key: str = "tls.crt") -> bytes:
    stored = api.stored(SECRETS, v.NAMESPACE, name)
    assert stored is not None
    return b64decode(stored["data"][key])


def bundles(api: FakeApi) -> list[bytes]:
    stored = api.stored(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    assert stored is not None
    return [b64decode(webhook["clientConfig"]["caBundle"]) for webhook in stored["webhooks"]]


def entries(api: FakeApi, name: str = v.WEBHOOK_CONFIGURATION) -> list[Json]:
    stored = api.stored(MUTATING_WEBHOOKS, None, name)
    assert stored is not None
    found: list[Json] = stored["webhooks"]
    return found


def paths(api: FakeApi, name: str = v.WEBHOOK_CONFIGURATION) -> list[str]:
    return [entry["clientConfig"]["service"].get("path", "") for entry in entries(api, name)]


def test_the_first_run(api: FakeApi) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    ca, leaf = data(api, v.WEBHOOK_CA_SECRET), data(api, v.WEBHOOK_TLS_SECRET)
    assert authority.is_signed_by(leaf, ca)
    assert bundles(api) == [ca, ca]
    [certificate] = parse_chain(leaf)
    assert "certjob-webhook.certjob.svc" in str(certificate.extensions[2].value) + str(list(certificate.extensions))
    assert [r.path.rpartition("/")[2] for r in api.requests if r.method in {"POST", "PUT"}] == [
        "secrets",
        v.WEBHOOK_CONFIGURATION,  # trusted before anything signed by it is served
        "secrets",
        v.WEBHOOK_CONFIGURATION,  # sent nothing before
    ]


@pytest.mark.parametrize("later", [timedelta(0), DAY, 14 * DAY])
def test_another_run_writes_nothing(api: FakeApi, later: timedelta) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    api.requests.clear()
    rotation.rotate(Cluster(api), now=NOW + later)
    assert {request.method for request in api.requests} == {"GET"}


def test_the_leaf_is_made_anew_at_half_its_life(api: FakeApi) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    before = [data(api, name) for name in PAIR]
    rotation.rotate(Cluster(api), now=NOW + 16 * DAY)
    after = [data(api, name) for name in PAIR]
    assert after[0] == before[0]
    assert after[1] != before[1]


@dataclass
class Pods:
    """The webhook's, that know what is new or do not."""

    behind: list[str] = field(default_factory=list)
    asked: list[tuple[bytes, str]] = field(default_factory=list)

    def lacking(self, cluster: Cluster, ca_pem: bytes, path: str) -> list[str]:
        self.asked.append((ca_pem, path))
        return self.behind


def test_an_old_and_a_new_ca_are_trusted_together_until_every_pod_shows_a_certificate_of_the_new_one(
    api: FakeApi,
) -> None:
    pods = Pods(["10.0.0.1"])
    assert rotation.rotate(Cluster(api), now=NOW, lacking=pods.lacking) == []
    assert pods.asked == []
    old = data(api, v.WEBHOOK_CA_SECRET)
    for day in (250, 251):
        assert rotation.rotate(Cluster(api), now=NOW + day * DAY, lacking=pods.lacking) == ["10.0.0.1"]
        new, leaf = data(api, v.WEBHOOK_CA_SECRET), data(api, v.WEBHOOK_TLS_SECRET)
        assert new != old
        assert authority.is_signed_by(leaf, new)
        assert bundles(api) == [new + old] * 2
    pods.behind = []
    assert rotation.rotate(Cluster(api), now=NOW + 252 * DAY, lacking=pods.lacking) == []
    assert bundles(api) == [new] * 2
    assert data(api, v.WEBHOOK_TLS_SECRET) == leaf
    assert pods.asked == [(new, paths(api)[0])] * 3


def test_an_old_ca_that_has_expired_is_not_trusted_whatever_pods_show(api: FakeApi) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    pods = Pods(["10.0.0.1"])
    for day in (250, 370):
        rotation.rotate(Cluster(api), now=NOW + day * DAY, lacking=pods.lacking)
    assert bundles(api) == [data(api, v.WEBHOOK_CA_SECRET)] * 2


@pytest.mark.parametrize("broken", ["", "AAAA", "not base64 at all!", b64encode(b"text").decode()])
@pytest.mark.parametrize("key", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("name", PAIR)
def test_what_somebody_broke_is_made_anew(api: FakeApi, name: str, key: str, broken: str) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    stored = api.stored(SECRETS, v.NAMESPACE, name)
    assert stored is not None
    api.add(SECRETS, v.NAMESPACE, stored | {"data": stored["data"] | {key: broken}})
    rotation.rotate(Cluster(api), now=NOW)
    assert authority.is_signed_by(data(api, v.WEBHOOK_TLS_SECRET), data(api, v.WEBHOOK_CA_SECRET))
    assert data(api, v.WEBHOOK_CA_SECRET) in bundles(api)[0]


def test_a_key_of_another_certificate_is_noticed(api: FakeApi) -> None:
    rotation.rotate(Cluster(api), now=NOW)
    stored = api.stored(SECRETS, v.NAMESPACE, v.WEBHOOK_CA_SECRET)
    assert stored is not None
    other = authority.make_authority(now=NOW)
    api.add(SECRETS, v.NAMESPACE, stored | {"data": stored["data"] | {"tls.key": b64encode(other.key_pem).decode()}})
    rotation.rotate(Cluster(api), now=NOW)
    ca = data(api, v.WEBHOOK_CA_SECRET)
    assert has_key(parse_chain(ca)[0], key_from_pem(data(api, v.WEBHOOK_CA_SECRET, "tls.key")))
    assert authority.is_signed_by(data(api, v.WEBHOOK_TLS_SECRET), ca)


def test_an_unreadable_bundle_is_replaced(api: FakeApi) -> None:
    stored = api.stored(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    assert stored is not None
    stored["webhooks"][0]["clientConfig"]["caBundle"] = "!!!"
    stored["webhooks"][1]["clientConfig"]["caBundle"] = b64encode(b"nonsense").decode()
    api.add(MUTATING_WEBHOOKS, None, stored)
    rotation.rotate(Cluster(api), now=NOW)
    assert bundles(api) == [data(api, v.WEBHOOK_CA_SECRET)] * 2


def test_who_loses_the_race_takes_the_winners(api: FakeApi) -> None:
    api.fail("POST", "/secrets", status(409, "AlreadyExists"))
    api.fail("PUT", "/mutatingwebhook", status(409, "Conflict"))
    rotation.rotate(Cluster(api), now=NOW)
    assert bundles(api) == [data(api, v.WEBHOOK_CA_SECRET)] * 2


@pytest.mark.usefixtures("no_pauses")
def test_no_end_of_races(api: FakeApi) -> None:
    api.fail("POST", "/secrets", status(409, "AlreadyExists"), times=99)
    with pytest.raises(KubeError, match="certjob-webhook-ca keeps changing"):
        rotation.rotate(Cluster(api), now=NOW)
    api.clear_faults()
    api.fail("PUT", "/mutatingwebhook", status(409, "Conflict"), times=99)
    with pytest.raises(KubeError, match="configuration keeps changing"):
        rotation.rotate(Cluster(api), now=NOW)


def test_without_the_configuration_there_is_nothing_to_serve() -> None:
    with pytest.raises(NotFound):
        rotation.rotate(Cluster(FakeApi()), now=NOW)


def issuer(name: str, **fields: str) -> dict[str, object]:
    document = msgspec.yaml.encode({"server": "https://ca.certjob.dev/dir", **fields}).decode()
    return {"metadata": {"name": name, "labels": {v.ISSUER: "true"}}, "data": {v.ISSUER_KEY: document}}


def test_bootstrap_makes_what_is_missing_once(api: FakeApi) -> None:
    api.add(CONFIGMAPS, v.NAMESPACE, issuer("good"))
    api.add(CONFIGMAPS, v.NAMESPACE, issuer("bad", server="http://plain"))
    own = issuer("own") | {"data": {v.ISSUER_KEY: "type: ca"}}
    api.add(CONFIGMAPS, v.NAMESPACE, own)
    bootstrap(Cluster(api))
    made = {s["metadata"]["name"] for s in api.all(SECRETS)}
    assert made == {*PAIR, names.account("good", "https://ca.certjob.dev/dir", 1)}
    before = api.all(SECRETS)
    bootstrap(Cluster(api))
    assert api.all(SECRETS) == before


def test_bootstrap_clears_finished_jobs_of_versions_before_and_failed_ones_away(api: FakeApi) -> None:
    def add(name: str, component: str, condition: str = "", status: str = "True", version: str = "0.0.9") -> None:
        labels = {v.APP_COMPONENT: component, v.APP_VERSION: version}
        conditions = [{"type": condition, "status": status}] if condition else []
        api.add(
            JOBS, v.NAMESPACE, {"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}}
        )

    add("certjob-bootstrap", "bootstrap", "Complete")
    add("certjob-bootstrap-failed", "bootstrap", "Failed")
    add("certjob-bootstrap-failed-too", "bootstrap", "Failed", version=v.VERSION)
    add("certjob-bootstrap-this", "bootstrap", version=v.VERSION)
    add("certjob-bootstrap-another", "bootstrap", "Complete", version=v.VERSION)
    add("certjob-bootstrap-suspended", "bootstrap", "Suspended")
    add("certjob-bootstrap-resumed", "bootstrap", "Failed", "False")
    add("certjob-sweep-1", "sweep", "Complete")
    bootstrap(Cluster(api))
    left = {job["metadata"]["name"] for job in api.all(JOBS)}
    assert left == {f"certjob-bootstrap-{name}" for name in ("this", "another", "suspended", "resumed")} | {
        "certjob-sweep-1"
    }


def test_bootstrap_is_done_although_it_may_not_clear_jobs_away(api: FakeApi) -> None:
    """As on the way back to a version that has no such right."""
    api.fail("GET", "/jobs", status(403, "Forbidden"), times=9)
    bootstrap(Cluster(api))
    assert all(api.stored(SECRETS, v.NAMESPACE, name) for name in PAIR)


def test_an_account_key_is_immutable_and_of_the_issuers_kind(api: FakeApi) -> None:
    issuers = Issuers.from_config_maps([issuer("rsa", accountKeyAlgorithm="RS256")])
    make_account_keys(Cluster(api), issuers.valid)
    [secret] = api.all(SECRETS)
    assert secret["immutable"] is True
    assert secret["metadata"]["labels"][v.ACCOUNT] == "true"
    assert len(b64decode(secret["data"]["key.pem"])) > 1000
