"""The operator's self-test, on an API server that grants or refuses what the test says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, MUTATING_WEBHOOKS, SECRETS, Cluster, Json, Response
from issuer_job.record.store import to_config_map
from issuer_job.upkeep.self_test import (
    ACCESS_REVIEWS,
    IDENTITIES,
    SUBJECT_REVIEWS,
    boundaries,
    identity_of,
    self_test,
)
from tests.fakes.api import Attempt, FakeApi
from tests.fakes.policies import FakePolicies
from tests.worlds.samples import full_record


@dataclass
class Authorizer:
    """`granted`: (verb, resource, namespace) that RBAC allows beyond what it should."""

    granted: set[tuple[str, str, str]] = field(default_factory=set)

    def review(self, attempt: Attempt) -> Json | Response | None:
        assert attempt.new is not None
        about = attempt.new["spec"]["resourceAttributes"]
        resource = about["resource"] + (f"/{about['subresource']}" if about["subresource"] else "")
        allowed = (about["verb"], resource, about["namespace"]) in self.granted
        return attempt.new | {"status": {"allowed": allowed}}


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer()


@pytest.fixture
def policies() -> FakePolicies:
    return FakePolicies()


@pytest.fixture
def api(authorizer: Authorizer, policies: FakePolicies) -> FakeApi:
    hooks = {"secrets": policies.secrets, ACCESS_REVIEWS.plural: authorizer.review}
    api = FakeApi(hooks=hooks)
    api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": v.WEBHOOK_CONFIGURATION}})
    api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": v.WEBHOOK_TLS_SECRET}})
    return api


def run_on(api: FakeApi, *identities: str, looks: bool = True) -> tuple[v.ExitCode, list[str]]:
    lines: list[str] = []
    clusters = {identity: Cluster(api) for identity in identities or IDENTITIES}
    return self_test(clusters, looks=looks, say=lines.append), [line for line in lines if not line.startswith("ok ")]


def test_all_is_well(api: FakeApi) -> None:
    code, said = run_on(api)
    assert code is v.ExitCode.DONE
    [total] = said
    tried = int(total.split()[0])
    assert total == f"{tried} tried, 0 failed"
    assert tried > 150


@pytest.mark.parametrize("policy", ["own-secrets", "configmaps", "routes", "jobs", "leases", "secrets-delete",
                                    "webhook-config"])  # fmt: skip
def test_a_policy_that_is_missing_is_named_with_the_identities_that_it_bounds(api: FakeApi, policy: str) -> None:
    api.missing_policies.add(f"certjob-{policy}")
    code, said = run_on(api)
    assert code is v.ExitCode.PERMANENT
    assert said[:-1]
    for line in said[:-1]:
        assert line.endswith(f"refused by policy certjob-{policy}: admission policy certjob-{policy} is not in force")
        assert line.startswith("FAILED ")


def test_the_first_policy_too(api: FakeApi, policies: FakePolicies) -> None:
    policies.in_force = False
    _, said = run_on(api)
    assert [line.split()[1] for line in said[:-1]] == ["webhook", "job", "sweep"]


def test_a_right_that_nobody_should_have_is_named(api: FakeApi, authorizer: Authorizer) -> None:
    authorizer.granted = {("list", "secrets", "default"), ("create", "pods/exec", v.NAMESPACE)}
    code, said = run_on(api, "responder")
    assert code is v.ExitCode.PERMANENT
    assert [" ".join(line.split()[:7]) for line in said[:-1]] == [
        "FAILED responder no right to list secrets",
        "FAILED responder no right to create pods/exec",
    ]


def test_a_right_that_the_identity_needs_is_not_asked_for(api: FakeApi, authorizer: Authorizer) -> None:
    authorizer.granted = {("delete", "secrets", v.CANARY_NAMESPACE)}
    assert run_on(api, "sweep")[0] is v.ExitCode.DONE
    assert run_on(api, "job")[0] is v.ExitCode.PERMANENT
    assert {identity for boundary in boundaries() for identity in boundary.of} <= set(IDENTITIES)


def test_a_look_that_is_not_answered_is_named_where_it_should_be(api: FakeApi, policies: FakePolicies) -> None:
    record = full_record()
    held = to_config_map(record)
    held["metadata"]["labels"][v.STATE] = "Issued"
    api.add(CONFIGMAPS, v.NAMESPACE, held)
    labels = {v.MANAGED: "true", v.STATE: "issued"}
    secret = {"metadata": {"name": record.secret_name, "labels": labels}, "type": v.TLS_SECRET_TYPE, "data": {}}
    api.add(SECRETS, record.namespace, secret)
    assert run_on(api, "job")[0] is v.ExitCode.DONE
    policies.look = False
    code, said = run_on(api, "job")
    assert (code, len(said)) == (v.ExitCode.PERMANENT, 2)
    assert "certjob-look is not in force" in said[0]
    assert run_on(api, "job", looks=False)[0] is v.ExitCode.DONE


def test_in_a_pod_it_knows_who_it_is() -> None:
    def who(attempt: Attempt) -> Json:
        return {"metadata": {}, "status": {"userInfo": {"username": "system:serviceaccount:certjob:sweep"}}}

    api = FakeApi(hooks={SUBJECT_REVIEWS.plural: who})
    assert identity_of(Cluster(api)) == "sweep"


def test_it_is_said_in_lines_for_people(api: FakeApi) -> None:
    lines: list[str] = []
    self_test({"webhook": Cluster(api)}, say=lines.append)
    assert lines[0] == "ok      webhook    refused by policy certjob-tenant-secrets"
    assert "ok      webhook    no right to list secrets in default" in lines
    assert json.dumps(lines).isprintable()
