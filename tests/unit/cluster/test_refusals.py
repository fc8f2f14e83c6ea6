"""Who refuses a write, and in which words: the answers are those of a 1.36 API server."""

from __future__ import annotations

from typing import Any

import pytest

from issuer_job.cluster.api import SECRETS, AlreadyExists, ApiError, Cluster, Conflict, NotFound, api_error
from issuer_job.cluster.refusals import MOST_WORDS, RefusedBy, RefusedWrite, refusal
from issuer_job.cluster.retrying import RetryingTransport
from tests.fakes.api import FakeApi, status

POLICY = "ValidatingAdmissionPolicy 'team-label' with binding 'all' denied request: every Secret needs a team"
DOWN = (
    'failed calling webhook "mutate.kyverno.svc": failed to call webhook: Post "https://kyverno.kyverno.svc:443/mutate'
    '?timeout=10s": no endpoints available for service "kyverno"'
)
IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"


def answered(code: int, reason: str, message: str, *causes: dict[str, str], kind: str = "secrets") -> ApiError:
    body: dict[str, Any] = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    body |= {"reason": reason} if reason else {}
    problem = api_error(code, body | {"details": {"name": "web-tls", "kind": kind, "causes": list(causes)}})
    problem.asked = ("POST", "/api/v1/namespaces/shop/secrets?fieldManager=certjob")
    return problem


def webhooks(code: int, words: str, reason: str = "") -> ApiError:
    return answered(code, reason, f'admission webhook "validate.kyverno.svc-fail" denied the request: {words}')


def judged(problem: ApiError) -> RefusedWrite:
    found = refusal(problem)
    assert found is not None
    assert (found.resource, found.namespace) == ("secrets", "shop")
    return found


@pytest.mark.parametrize(("code", "reason"), [(422, "Invalid"), (403, "Forbidden"), (413, "RequestEntityTooLarge")])
def test_a_policy_is_named_with_its_words_whatever_its_reason(code: int, reason: str) -> None:
    found = judged(answered(code, reason, f'secrets "web-tls" is forbidden: {POLICY}', {"message": POLICY}))
    assert (found.by, found.name, found.binding) == (RefusedBy.POLICY, "team-label", "all")
    assert found.words == "every Secret needs a team"
    assert found.is_others


def test_a_mutating_policy_that_fails_is_named() -> None:
    said = "policy 'add-team' with binding 'all' denied request: expression 'x' resulted in error: no such key: nope"
    found = judged(answered(403, "Invalid", said, {"message": said}))
    assert (found.by, found.name) == (RefusedBy.POLICY, "add-team")


@pytest.mark.parametrize(
    ("code", "reason"), [(400, ""), (403, "Forbidden"), (404, ""), (409, ""), (410, ""), (500, "")]
)
def test_a_webhook_is_named_with_its_words_whatever_its_code(code: int, reason: str) -> None:
    found = judged(
        webhooks(code, "\n\nresource Secret/shop/web-tls was blocked:\n\nlabel team is required\n", reason)
    )
    assert (found.by, found.name) == (RefusedBy.WEBHOOK, "validate.kyverno.svc-fail")
    assert found.words == "resource Secret/shop/web-tls was blocked: label team is required"


def test_what_a_webhook_says_is_never_taken_for_a_policy() -> None:
    ours = POLICY.replace("team-label", "certjob-tenant-secrets")
    problem = webhooks(403, ours, "Forbidden")
    problem.causes = answered(403, "Forbidden", "", {"message": ours}).causes
    assert judged(problem).by is RefusedBy.WEBHOOK


def test_a_webhook_that_cannot_be_reached_refuses() -> None:
    found = judged(answered(500, "InternalError", f"Internal error occurred: {DOWN}", {"message": DOWN}))
    assert (found.by, found.name, found.words) == (RefusedBy.WEBHOOK, "mutate.kyverno.svc", DOWN)


@pytest.mark.parametrize("words", ["exceeded quota: few, requested: secrets=1", "failed quota: few: must specify x"])
def test_a_quota_has_its_words(words: str) -> None:
    found = judged(answered(403, "Forbidden", f'secrets "web-tls" is forbidden: {words}'))
    assert (found.by, found.words, found.is_others) == (RefusedBy.QUOTA, words, False)


def test_a_namespace_that_goes_or_is_gone() -> None:
    cause = {"reason": "NamespaceTerminating", "message": "namespace shop is going", "field": "metadata.namespace"}
    going = answered(403, "Forbidden", "whatever language this is in", cause)
    gone = answered(404, "NotFound", "hopla", kind="namespaces")
    assert [judged(problem).by for problem in (going, gone)] == [RefusedBy.NAMESPACE] * 2


def test_fields_are_told_by_their_paths() -> None:
    causes = [{"reason": "FieldValueForbidden", "message": IMMUTABLE, "field": "data"},
              {"reason": "FieldValueInvalid", "message": "x", "field": "type"}]  # fmt: skip
    found = judged(answered(422, "Invalid", "in any language", *causes, kind="Secret"))
    assert (found.by, found.fields) == (RefusedBy.FIELD, {"data", "type"})


@pytest.mark.parametrize("code", [401, 404, 409, 429, 500, 503, 504])
def test_what_passes_is_no_refusal(code: int) -> None:
    reasons = {401: "Unauthorized", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}
    assert refusal(answered(code, reasons.get(code, "ServiceUnavailable"), "x")) is None


def test_reading_is_never_refused() -> None:
    problem = answered(403, "Forbidden", "no")
    problem.asked = ("GET", problem.asked[1])
    assert refusal(problem) is None


def test_words_are_one_bounded_line_without_what_may_be_a_key() -> None:
    key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"
    found = judged(webhooks(403, f"the data {key}\n{key}== is {'very ' * 100}odd"))
    assert key[:40] not in found.words
    assert len(found.words) == MOST_WORDS
    assert "\n" not in found.words


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [(404, "NotFound", NotFound), (409, "Conflict", Conflict), (409, "AlreadyExists", AlreadyExists)],
)
def test_only_kubernetes_own_words_make_a_missing_object_or_a_conflict(
    code: int, reason: str, kind: type[ApiError]
) -> None:
    assert type(answered(code, reason, "x")) is kind
    assert type(webhooks(code, "x")) is ApiError
    assert type(api_error(404, {"message": "404 page not found"})) is NotFound  # of a group that nobody serves


def test_a_webhook_that_cannot_be_reached_is_asked_again_for_seconds_not_for_minutes() -> None:
    api, now = FakeApi(), [0.0]
    api.fail("POST", "/secrets", status(500, "InternalError", f"Internal error occurred: {DOWN}"), times=999)
    retrying = RetryingTransport(api, 200.0, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.raises(ApiError):
        Cluster(retrying).create(SECRETS, "shop", {"metadata": {"name": "web-tls"}})
    assert 2 < now[0] <= 5
    assert len(api.requests) > 3
