"""CAA records as RFC 8659 and RFC 8657 have them: which of them counts, and whom it lets issue."""

from __future__ import annotations

import pytest

from issuer_job.cli.checking.caa import Ca, climbed, judge_caa, read_issue, relevant
from issuer_job.cli.out.verdicts import Mark
from issuer_job.dns01.lookup import Caa

LE = Ca(("letsencrypt.org",), "https://ca/acct/1")
HTTP, DNS = "http-01", "dns-01"


def answers(**by_name: tuple[Caa, ...] | str) -> dict[str, tuple[Caa, ...] | str]:
    """Of www.example.com and all above; double underscores are dots."""
    found: dict[str, tuple[Caa, ...] | str] = dict.fromkeys(("www.example.com", "example.com", "com"), ())
    return found | {name.replace("__", "."): said for name, said in by_name.items()}


def issue(value: str, *, flags: int = 0, tag: str = "issue") -> Caa:
    return Caa(flags, tag, value)


def test_the_names_are_climbed_without_the_root_and_a_wildcard_begins_below_it() -> None:
    assert climbed("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com", "com"]
    assert climbed("*.example.com") == ["example.com", "com"]


def test_the_closest_name_that_has_any_counts_alone() -> None:
    found = answers(www__example__com=(issue("letsencrypt.org"),), example__com=(issue("other.test"),))
    assert relevant("www.example.com", found)[0] == "www.example.com"
    assert judge_caa("www.example.com", found, LE, HTTP).verdict is Mark.OK
    assert judge_caa("*.example.com", found, LE, DNS).verdict is Mark.FAIL


def test_no_record_anywhere_lets_everybody_issue() -> None:
    assert judge_caa("www.example.com", answers(), LE, HTTP).verdict is Mark.OK


def test_another_ca_is_named_with_the_record() -> None:
    found = judge_caa("www.example.com", answers(example__com=(issue("digicert.com"),)), LE, HTTP)
    assert found.verdict is Mark.FAIL
    assert found.says == 'example.com: 0 issue "digicert.com" forbids this CA (letsencrypt.org)'


@pytest.mark.parametrize("value", [";", "", "  ; ", "letsencrypt.org; =", "lets encrypt.org", "letsencrypt.org;a b"])
def test_an_empty_or_malformed_value_allows_nobody(value: str) -> None:
    assert judge_caa("www.example.com", answers(example__com=(issue(value),)), LE, HTTP).verdict is Mark.FAIL


def test_one_of_several_is_enough() -> None:
    found = answers(example__com=(issue("digicert.com"), issue("LetsEncrypt.org")))
    assert judge_caa("www.example.com", found, LE, HTTP).verdict is Mark.OK


@pytest.mark.parametrize(
    ("host", "records", "verdict"),
    [
        ("*.example.com", (issue("letsencrypt.org"), issue("other.test", tag="issuewild")), Mark.FAIL),
        ("*.example.com", (issue("other.test"), issue("letsencrypt.org", tag="IssueWild")), Mark.OK),
        ("*.example.com", (issue("letsencrypt.org"),), Mark.OK),
        ("example.com", (issue("letsencrypt.org"), issue(";", tag="issuewild")), Mark.OK),
        ("example.com", (issue(";", tag="issuewild"),), Mark.OK),
        ("example.com", (issue("mailto:a@example.com", tag="iodef"),), Mark.OK),
    ],
)
def test_issuewild_is_for_wildcards_alone_and_counts_there_before_issue(
    host: str, records: tuple[Caa, ...], verdict: Mark
) -> None:
    assert judge_caa(host, answers(example__com=records), LE, DNS).verdict is verdict


def test_a_critical_property_that_nobody_knows_forbids_all() -> None:
    found = answers(example__com=(issue("letsencrypt.org"), issue("x", flags=128, tag="tbs")))
    assert judge_caa("example.com", found, LE, HTTP).verdict is Mark.FAIL
    known = answers(example__com=(issue("letsencrypt.org", flags=128),))
    assert judge_caa("example.com", known, LE, HTTP).verdict is Mark.OK
    not_critical = answers(example__com=(issue("letsencrypt.org"), issue("x", tag="tbs")))
    assert judge_caa("example.com", not_critical, LE, HTTP).verdict is Mark.OK


@pytest.mark.parametrize(
    ("value", "method", "verdict"),
    [
        ("letsencrypt.org; validationmethods=dns-01", HTTP, Mark.FAIL),
        ("letsencrypt.org; validationmethods=dns-01,http-01", HTTP, Mark.OK),
        ("letsencrypt.org; validationmethods=DNS-01", DNS, Mark.OK),
        ("letsencrypt.org; accounturi=https://ca/acct/1", HTTP, Mark.OK),
        ("letsencrypt.org; accounturi=https://ca/acct/2", HTTP, Mark.FAIL),
        ("letsencrypt.org;accounturi=https://ca/acct/1;validationmethods=http-01", HTTP, Mark.OK),
    ],
)
def test_parameters_bind_method_and_account(value: str, method: str, verdict: Mark) -> None:
    assert judge_caa("example.com", answers(example__com=(issue(value),)), LE, method).verdict is verdict


def test_what_is_not_known_of_the_ca_is_said() -> None:
    bound = answers(example__com=(issue("letsencrypt.org; accounturi=https://ca/acct/1"),))
    assert judge_caa("example.com", bound, Ca(("letsencrypt.org",)), HTTP).verdict is Mark.WARN
    assert judge_caa("example.com", bound, Ca(None), HTTP).verdict is Mark.UNKNOWN
    assert judge_caa("example.com", bound, Ca(()), HTTP).verdict is Mark.WARN


def test_a_name_that_cannot_be_looked_up_is_no_free_way_and_no_fault() -> None:
    found = judge_caa("www.example.com", answers(example__com="SERVFAIL"), LE, HTTP)
    assert found.verdict is Mark.WARN
    assert "example.com could not be looked up (SERVFAIL)" in found.says
    assert judge_caa("www.example.com", {}, LE, HTTP).verdict is Mark.WARN


def test_a_value_is_read_as_rfc_8659_has_it() -> None:
    assert read_issue(" CA1.example.net ; a=1 ;B = 2") == ("ca1.example.net", {"a": "1", "b": "2"})
    assert read_issue("ca1.example.net;") == ("ca1.example.net", {})
    assert read_issue("%%%%%") == ("", {})
