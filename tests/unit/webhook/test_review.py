from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from tests.worlds.reviews import ingress, read, review
from webhook.review import MAX_BODY, MAX_WARNING, MAX_WARNINGS, BadRequest, answer, warning_lines


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: value for k, value in document.items() if k != key}


GOOD = review(ingress())


@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (b"", 400, "is not JSON"),
        (b"nonsense", 400, "is not JSON"),
        (b"\xff\xfe", 400, "is not JSON"),
        (b'{"a": NaN}', 400, "is not JSON"),
        (b'{"a": 1e999999}', 400, "not an AdmissionReview"),
        (b'{"a": ' + b"9" * 100_000 + b"}", 400, "not an AdmissionReview"),
        (b"[" * 500_000, 400, "not an AdmissionReview"),
        (b'{"a":' * 300_000, 400, "is not JSON"),
        (b'"\\ud800"', 400, "is not JSON"),
        (b"null", 400, "not an AdmissionReview"),
        (b"[]", 400, "not an AdmissionReview"),
        (body(without(GOOD, "kind")), 400, "not an AdmissionReview"),
        (body(GOOD | {"kind": "Review"}), 400, "not an AdmissionReview"),
        (body(GOOD | {"apiVersion": "admission.k8s.io/v1beta1"}), 400, "not of version admission.k8s.io/v1"),
        (body(without(GOOD, "apiVersion")), 400, "not of version"),
        (body(without(GOOD, "request")), 400, "no request.uid"),
        (body(GOOD | {"request": []}), 400, "no request.uid"),
        (body(review(ingress(), uid=None)), 400, "no request.uid"),
        (body(review(ingress(), uid="")), 400, "no request.uid"),
        (body(review(ingress(), uid=7)), 400, "no request.uid"),
        (body(review(ingress(), uid="u" * 129)), 400, "no request.uid"),
        (b" " * (MAX_BODY + 1), 413, "larger than"),
    ],
)
def test_what_is_no_review_gets_a_4xx_and_a_sentence(data: bytes, status: int, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence) as caught:
        read(data)
    assert caught.value.status == status
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 300


WRONG = [None, True, 7, 1.5, "text", [], {}, [None], [7], ["text"], [[]], [{}], {"a": 7}, {"a": None}]


def test_every_wrong_type_in_every_place_is_admitted_or_a_problem_with_the_uid() -> None:
    places = [
        ("metadata",), ("spec",), ("metadata", "name"), ("metadata", "generateName"), ("metadata", "namespace"),
        ("metadata", "annotations"), ("metadata", "annotations", "kubernetes.io/tls-acme"),
        ("metadata", "creationTimestamp"), ("metadata", "deletionTimestamp"), ("metadata", "uid"),
        ("spec", "ingressClassName"), ("spec", "rules"), ("spec", "rules", 0), ("spec", "rules", 0, "host"),
        ("spec", "tls"), ("spec", "tls", 0), ("spec", "tls", 0, "hosts"), ("spec", "tls", 0, "hosts", 0),
        ("spec", "tls", 0, "secretName"),
    ]  # fmt: skip
    problems = 0
    for place in places:
        for wrong in WRONG:
            new = ingress()
            new["spec"]["tls"] = [{"hosts": ["shop.certjob.dev"], "secretName": "s"}]
            target: Any = new
            for step in place[:-1]:
                target = target[step]
            target[place[-1]] = wrong
            for found in (read(body(review(new))), read(body(review(ingress(), old=new, operation="UPDATE")))):
                assert found.uid == "u-1"
                problems += bool(found.problem)
    assert problems > 300


@pytest.mark.parametrize(
    "field", ["kind", "operation", "subResource", "name", "namespace", "dryRun", "object", "oldObject"]
)
def test_a_wrong_type_in_the_request_is_a_problem_with_the_uid(field: str) -> None:
    found = read(body(review(ingress()) | {"request": review(ingress())["request"] | {field: 7}}))
    assert found.uid == "u-1"
    assert field in found.problem


def test_a_request_cannot_set_the_problem() -> None:
    assert read(body(review(ingress(), problem="forged"))).problem == ""


def test_objects_of_other_kinds_are_not_looked_into() -> None:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    assert read(body(review({"metadata": 7}, kind=kind))).problem == ""


def test_the_last_of_duplicate_keys_counts() -> None:
    text = body(GOOD).replace(b'"uid": "u-1"', b'"uid": "first", "uid": "u-1"')
    assert read(text).uid == "u-1"


def test_the_answer_allows_and_carries_the_patch_as_base64() -> None:
    patch = [{"op": "add", "path": "/spec/tls", "value": []}]
    document = json.loads(answer("u-1", patch=patch, warnings=["one"]))
    response = document.pop("response")
    assert document == {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    assert json.loads(b64decode(response.pop("patch"))) == patch
    assert response == {"uid": "u-1", "allowed": True, "patchType": "JSONPatch", "warnings": ["certjob: one"]}


def test_an_answer_without_patch_says_nothing_of_one() -> None:
    assert json.loads(answer("u-1"))["response"] == {"uid": "u-1", "allowed": True}


def test_warnings_are_short_printable_and_bounded() -> None:
    lines = warning_lines([f"host {n} \x1b[31m\r\n\x00\u202e\ud800" + "x" * 300 for n in range(30)])
    assert len(lines) == MAX_WARNINGS
    assert lines[-1] == "certjob: and 21 more like these"
    for line in lines:
        assert len(line) <= MAX_WARNING
        assert line.isprintable()
        assert line.startswith("certjob: ")
    answer("u-1", warnings=lines)


def test_a_warning_comes_once_and_is_prefixed_once() -> None:
    assert warning_lines(["a", "certjob: a", "b"]) == ["certjob: a", "certjob: b"]
