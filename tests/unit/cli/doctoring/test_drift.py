"""What is installed against the manifests: exactly what bounds rights, and of the rest what they say."""

from __future__ import annotations

import copy

import pytest

from issuer_job.cli.doctoring.drift import Drift, compare, key_of
from issuer_job.cluster.api import Json
from tests.worlds.installed import filled_in
from tests.worlds.manifests import documents, older

POLICY = ("ValidatingAdmissionPolicy", "certjob-tenant-secrets")
BINDING = ("ValidatingAdmissionPolicyBinding", "certjob-tenant-secrets")
WEBHOOK = ("Deployment", "certjob-webhook")


@pytest.fixture
def live() -> dict[tuple[str, str], Json]:
    return {key_of(body): filled_in(body) for body in documents()}


def changed(live: dict[tuple[str, str], Json], *more: tuple[Json, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    return dict(compare([documents(), *more], dict(live), without_view=False).changed)


def test_what_the_api_server_fills_in_is_no_drift(live: dict[tuple[str, str], Json]) -> None:
    assert compare([documents()], dict(live), without_view=False) == Drift()


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        (POLICY, ("spec", "failurePolicy"), "Ignore"),
        (POLICY, ("spec", "matchConstraints", "namespaceSelector"), {"matchLabels": {"a": "b"}}),
        (POLICY, ("spec", "matchConstraints", "excludeResourceRules"), [{"resources": ["secrets"]}]),
        (POLICY, ("spec", "matchConditions"), [{"name": "never", "expression": "false"}]),
        (BINDING, ("spec", "validationActions"), ["Audit"]),
        (BINDING, ("spec", "policyName"), "certjob-events"),
        (("ClusterRoleBinding", "certjob-job"), ("subjects",), [{"kind": "Group", "name": "system:authenticated"}]),
        (("ClusterRole", "certjob-job"), ("aggregationRule",), {"clusterRoleSelectors": []}),
    ],
)
def test_whatever_weakens_a_bound_is_found(
    live: dict[tuple[str, str], Json], key: tuple[str, str], path: tuple[str, ...], value: object
) -> None:
    at = live[key]
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    found = compare([documents()], dict(live), without_view=False)
    if value != {"clusterRoleSelectors": []}:
        assert found.of(strict=True).changed[0][0] == key
        assert found.of(strict=False) == Drift()


def test_another_variant_will_do(live: dict[tuple[str, str], Json]) -> None:
    before = {key_of(body): filled_in(body) for body in older().values()}
    assert set(changed(before)) == {
        ("ValidatingAdmissionPolicy", "certjob-foreign-metadata"),
        ("MutatingWebhookConfiguration", "certjob-webhook"),
    }
    assert changed(before, tuple(older().values())) == {}


def test_what_is_missing_is_told_but_for_what_may_be(live: dict[tuple[str, str], Json]) -> None:
    gone: dict[tuple[str, str], Json | None] = dict.fromkeys(live)
    missing = compare([documents()], gone, without_view=False).missing
    assert POLICY in missing
    assert not {kind for kind, _ in missing} & {"Job", "NetworkPolicy", "PriorityClass", "ResourceQuota"}
    # What could not be read is not missing.
    assert compare([documents()], {}, without_view=False) == Drift()


def test_numbers_and_texts_of_one_value_are_the_same(live: dict[tuple[str, str], Json]) -> None:
    body = copy.deepcopy(live[WEBHOOK])
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "30"
    live[WEBHOOK] = body
    assert changed(live) == {}
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 31
    assert changed(live) == {WEBHOOK: (".spec.template.spec.terminationGracePeriodSeconds",)}


def test_a_container_that_is_gone_is_found_and_one_that_was_added_is_not(live: dict[tuple[str, str], Json]) -> None:
    spec = live[WEBHOOK]["spec"]["template"]["spec"]
    spec["containers"].append({"name": "sidecar", "image": "x"})
    assert changed(live) == {}
    spec["containers"] = [{"name": "other", "image": "x"}]
    assert changed(live) == {WEBHOOK: (".spec.template.spec.containers[webhook]",)}
