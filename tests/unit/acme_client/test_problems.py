from __future__ import annotations

from typing import Any

import pytest

from issuer_job.acme_client.problems import (
    PERMANENT_TYPES,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    ExternalAccountRefused,
    clean_text,
    parse_problem,
)

NAMESPACE = "urn:ietf:params:acme:error:"
TOKEN = "tokenTOKENtokenTOKENtokenTOKENtoken0123456"
THUMBPRINT = "x" * 43


def test_a_problem_with_subproblems() -> None:
    document = {
        "type": NAMESPACE + "malformed",
        "detail": "Some of the identifiers were rejected",
        "status": 400,
        "subproblems": [
            {
                "type": NAMESPACE + "rejectedIdentifier",
                "detail": "no",
                "identifier": {"type": "dns", "value": "example.net"},
            },
            "nonsense",
        ],
    }
    parsed = parse_problem(document, status=403)
    rejected = AcmeProblem("rejectedIdentifier", "no", identifier="example.net")
    assert parsed == AcmeProblem(
        "malformed", "Some of the identifiers were rejected", status=403, subproblems=(rejected,)
    )
    assert parsed is not None
    assert AcmeError(parsed, step="newOrder").is_permanent


def test_the_words_of_subproblems_are_told_once_for_all_hosts_that_they_are_about() -> None:
    def part(host: str, detail: str = "forbidden by policy", kind: str = "rejectedIdentifier") -> AcmeProblem:
        return AcmeProblem(kind, detail, identifier=host)

    parts = (part("a.dev"), part("b.dev"), part("c.dev", "no", "about:blank"), part("d.dev"), part("e.dev"))
    whole = AcmeProblem("malformed", "Some were rejected", subproblems=parts)
    said = "Some were rejected; a.dev, b.dev, d.dev and 1 more: forbidden by policy (rejectedIdentifier); c.dev: no"
    assert whole.words == said
    assert str(whole) == f"malformed: {said}"
    assert AcmeProblem("caa", "no").words == "no"


def test_a_type_outside_acme_stays_whole() -> None:
    parsed = parse_problem({"type": "https://ca.example/problems/quota", "title": "Quota"})
    assert parsed == AcmeProblem("https://ca.example/problems/quota", "Quota")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": 3, "detail": ["x"], "status": "400", "identifier": "x", "subproblems": {"a": 1}},
        {"type": None, "detail": None, "status": True, "identifier": {"value": 7}},
    ],
)
def test_wrongly_typed_members_count_as_absent(document: dict[str, Any]) -> None:
    assert parse_problem(document) == AcmeProblem("about:blank", "the CA gave no detail")


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_what_is_no_object_is_no_problem(document: object) -> None:
    assert parse_problem(document) is None


def test_everything_is_bounded() -> None:
    sub = {"type": "t" * 5000, "detail": "d" * 5000, "identifier": {"value": "h" * 5000}}
    parsed = parse_problem({**sub, "subproblems": [sub] * 500})
    assert parsed is not None
    assert len(parsed.subproblems) == 20
    for one in (parsed, *parsed.subproblems):
        assert (len(one.type), len(one.detail), len(one.identifier or "")) == (200, 1000, 255)


def test_text_is_one_line() -> None:
    assert clean_text("a\r\nb\x1b[31m\u2028c\x00", limit=100) == "a b [31m c"


@pytest.mark.parametrize(
    "detail",
    [
        f'expected "{TOKEN}.{THUMBPRINT}" (got "x")',
        f"Invalid response from http://a.example/.well-known/acme-challenge/{TOKEN}: 404",
        f'Invalid response from "http://a.example/.well-known/acme-challenge/{TOKEN}" [10.0.0.1]',
        f"token {TOKEN} not found",
        f"{TOKEN}.{THUMBPRINT}",
    ],
)
def test_tokens_and_key_authorizations_are_blotted_out(detail: str) -> None:
    parsed = parse_problem({"detail": detail}, secrets=(TOKEN,))
    assert parsed is not None
    assert TOKEN not in parsed.detail
    assert THUMBPRINT not in parsed.detail


def test_the_quoted_url_stays_readable() -> None:
    text = f"Invalid response from http://a.example/.well-known/acme-challenge/{TOKEN}: 404"
    expected = "Invalid response from http://a.example/.well-known/acme-challenge/[token]: 404"
    assert clean_text(text, limit=200) == expected


def test_a_key_authorization_cut_by_the_limit_is_blotted_out_too() -> None:
    detail = "x" * 940 + f' "{TOKEN}.{THUMBPRINT}"'
    assert TOKEN[:10] not in clean_text(detail, limit=1000)


@pytest.mark.parametrize("kind", sorted(PERMANENT_TYPES))
def test_permanent_types(kind: str) -> None:
    assert AcmeError(AcmeProblem(kind, ""), step="newOrder").is_permanent
    assert not AcmeUnavailable(AcmeProblem(kind, ""), step="newOrder").is_permanent


@pytest.mark.parametrize("kind", ["rateLimited", "unauthorized", "dns", "connection", "serverInternal"])
def test_other_types_are_not_permanent(kind: str) -> None:
    assert not AcmeError(AcmeProblem(kind, ""), step="newOrder").is_permanent


def test_a_refused_binding_is_permanent_whatever_its_type() -> None:
    assert ExternalAccountRefused(AcmeProblem("unauthorized", ""), step="newAccount").is_permanent


def test_rate_limits_and_replacements_are_told_apart() -> None:
    assert AcmeError(AcmeProblem("rateLimited", ""), step="x").is_rate_limited
    assert AcmeError(AcmeProblem("about:blank", "", status=429), step="x").is_rate_limited
    assert not AcmeError(AcmeProblem("unauthorized", "", status=403), step="x").is_rate_limited
    assert AcmeError(AcmeProblem("alreadyReplaced", "", status=409), step="x").is_already_replaced


def test_the_error_names_its_step_type_and_host() -> None:
    error = AcmeError(AcmeProblem("caa", "CAA forbids", identifier="a.example"), step="newOrder")
    assert str(error) == "newOrder: caa: CAA forbids (a.example)"
