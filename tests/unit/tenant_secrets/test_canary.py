"""What the policies must refuse before anything is done, and what is said where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, MUTATING_WEBHOOKS, SECRETS, ApiError, Cluster, Response, Unreachable
from issuer_job.tenant_secrets import canary
from issuer_job.tenant_secrets.canary import TENANT_SECRETS
from tests.fakes.api import FakeApi, denied_by, status
from tests.fakes.policies import FakePolicies
from tests.worlds.documents import MANIFESTS


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi(hooks={"secrets": FakePolicies().secrets})
    api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": v.WEBHOOK_TLS_SECRET}})
    api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": v.WEBHOOK_CONFIGURATION}})
    api.add(INGRESSES, "shop", {"metadata": {"name": "web"}})
    return api


def test_every_validating_policy_has_a_canary_whose_refusal_begins_with_a_message_of_its_own() -> None:
    documents = [
        d for path in (MANIFESTS / "base/policies").glob("*.yaml") for d in yaml.safe_load_all(path.read_text())
    ]
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "ValidatingAdmissionPolicy"}
    assert {one.policy for one in canary.CANARIES} == set(policies)
    for one in canary.CANARIES:
        assert any(x["message"].startswith(one.denial) for x in policies[one.policy]["validations"]), one.policy


def test_the_canary_is_refused_by_our_policy(api: FakeApi) -> None:
    assert TENANT_SECRETS.problem(Cluster(api)) == ""
    [request] = api.requests
    assert (request.query["dryRun"], request.body["type"] if request.body else "") == ("All", "Opaque")


@pytest.mark.parametrize(
    "answer",
    [
        Response(201, {}, b"{}"),
        status(409, "AlreadyExists"),
        status(403, "Forbidden", 'User "job" cannot create resource "secrets"'),
        status(403, "Forbidden", "another-policy denied request: certjob-shaped"[:-8]),
        status(404, "NotFound", 'namespaces "default" not found'),
        status(401, "Unauthorized"),
    ],
)
def test_no_other_answer_is_believed(api: FakeApi, answer: Response) -> None:
    api.fail("POST", "/secrets", answer, times=2)
    assert TENANT_SECRETS.problem(Cluster(api))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(201, {}, b"{}"), "admission policy certjob-tenant-secrets is not in force"),
        (
            denied_by("no-opaque", "no Opaque Secrets here"),
            "something else refuses the canary of policy certjob-tenant-secrets first, exempt the group"
            " system:serviceaccounts:certjob there: policy no-opaque: no Opaque Secrets here",
        ),
        (
            status(
                403, "Forbidden", 'admission webhook "validate.kyverno.svc-fail" denied the request: label missing'
            ),
            "something else refuses the canary of policy certjob-tenant-secrets first, exempt the group"
            " system:serviceaccounts:certjob there: webhook validate.kyverno.svc-fail: label missing",
        ),
        (
            status(403, "Forbidden", 'User "system:serviceaccount:certjob:job" cannot create resource "secrets"'),
            "something else refuses the canary of policy certjob-tenant-secrets: User"
            ' "system:serviceaccount:certjob:job" cannot create resource "secrets"',
        ),
        (
            status(404, "NotFound", 'namespaces "default" not found'),
            "the canary of policy certjob-tenant-secrets was answered with"
            ' 404 NotFound: namespaces "default" not found',
        ),
    ],
)
def test_what_is_said_tells_a_missing_policy_from_one_that_comes_first(
    api: FakeApi, answer: Response, said: str
) -> None:
    api.fail("POST", "/secrets", answer, times=2)
    assert TENANT_SECRETS.problem(Cluster(api)) == said


POLICY = "certjob-tenant-secrets"
NAMED = f"ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}'"
WARNED = f'299 - "Validation failed for {NAMED[:-1]}-canary\': certjob-shape: x"'
OTHERS = denied_by("default-is-closed", "nothing is made here", code=422, reason="Invalid")


def with_warning(answer: Response, text: str = WARNED) -> Response:
    return replace(answer, headers={**answer.headers, "warning": f'299 - "something else", {text}'})


def bind(api: FakeApi, **spec: object) -> None:
    held = {"policyName": POLICY, "validationActions": ["Deny", "Audit"]} | spec
    api.add(canary.BINDINGS, None, {"metadata": {"name": POLICY}, "spec": held})


def test_where_somebody_else_denies_first_its_warning_and_its_binding_show_that_it_is_in_force(api: FakeApi) -> None:
    bind(api)
    api.fail("POST", "/secrets", with_warning(OTHERS), times=2)
    assert TENANT_SECRETS.problem(Cluster(api)) == ""


@pytest.mark.parametrize(
    "spec",
    [
        {"validationActions": ["Audit"]},
        {"policyName": "another"},
        {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}},
        None,
    ],
)
def test_a_warning_alone_is_not_believed(api: FakeApi, spec: dict[str, object] | None) -> None:
    if spec is not None:
        bind(api, **spec)
    api.fail("POST", "/secrets", with_warning(OTHERS), times=2)
    assert TENANT_SECRETS.problem(Cluster(api)) == f"admission policy {POLICY} does not deny"


@pytest.mark.parametrize(
    "answer",
    [
        with_warning(OTHERS, WARNED.replace('"', '\\"')),  # somebody's warning that quotes it
        with_warning(OTHERS, WARNED.replace("-canary'", "'")),
        with_warning(OTHERS, WARNED.replace("certjob-shape", "another rule")),
        denied_by("evil", "denied request: certjob-shape: x"),
        denied_by(
            "evil", f"ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}' denied request: certjob-shape"
        ),
        status(403, "Forbidden", f'admission webhook "x" denied the request: {WARNED} denied request: certjob-shape'),
        denied_by(POLICY, "failed to configure binding: no params found"),
    ],
)
def test_nobody_else_says_it_in_its_place(api: FakeApi, answer: Response) -> None:
    bind(api)
    api.fail("POST", "/secrets", answer, times=2)
    assert TENANT_SECRETS.problem(Cluster(api)).startswith("something else refuses")


def test_a_webhook_that_is_down_for_the_one_namespace_does_not_stop_certjob(api: FakeApi) -> None:
    down = 'Internal error occurred: failed calling webhook "x.dev": no endpoints'
    api.fail("POST", "/default/secrets", status(500, "InternalError", down))
    assert TENANT_SECRETS.problem(Cluster(api)) == ""
    assert [request.path.split("/")[4] for request in api.requests] == ["default", "kube-system"]


@pytest.mark.parametrize(
    "fault", [status(429, "TooManyRequests"), status(503, "ServiceUnavailable"), Unreachable("x")]
)
def test_no_answer_is_no_verdict(api: FakeApi, fault: Response | Exception) -> None:
    api.fail("POST", "/secrets", fault)
    with pytest.raises((ApiError, Unreachable)):
        TENANT_SECRETS.problem(Cluster(api))


@pytest.mark.parametrize("one", canary.OTHERS, ids=[one.policy for one in canary.OTHERS])
def test_each_says_that_its_policy_is_missing_and_writes_nothing(api: FakeApi, one: canary.Canary) -> None:
    before = api._store.version
    assert one.problem(Cluster(api)) == ""
    assert all(request.query["dryRun"] == "All" for request in api.requests if request.method != "GET")
    api.missing_policies.add(one.policy)
    if one is not canary.COMPLETE_TLS:  # without the optional right there is nothing that the policy bounds
        assert one.problem(Cluster(api)) == f"admission policy {one.policy} is not in force"
    assert api._store.version == before


@pytest.mark.parametrize("one", canary.FOR_SWEEPS, ids=[one.policy for one in canary.FOR_SWEEPS])
def test_what_is_not_there_yet_or_was_lost_keeps_no_sweep_from_making_it(one: canary.Canary) -> None:
    assert one.problem(Cluster(FakeApi(hooks={"secrets": FakePolicies().secrets}))) == ""


def test_who_has_which_rights() -> None:
    policies = {name: {one.policy.removeprefix("certjob-") for one in canary.canaries_of(name)}
                for name in ("webhook", "job", "sweep", "responder")}  # fmt: skip
    writes = {"tenant-secrets", "own-secrets", "configmaps", "routes", "foreign-metadata"}
    assert policies == {
        "webhook": writes | {"jobs", "elsewhere"},
        "job": writes | {"leases", "secrets-delete", "events"},
        "sweep": writes | {"events", "jobs", "elsewhere", "secrets-delete", "webhook-config", "complete-tls"},
        "responder": set(),
    }
    assert [one.policy for one in canary.FOR_JOBS] == [
        "certjob-tenant-secrets",
        "certjob-own-secrets",
        "certjob-configmaps",
    ]
