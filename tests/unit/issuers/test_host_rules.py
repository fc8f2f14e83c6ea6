"""Which namespace a rule of the operator gives which host."""

import msgspec
import pytest

from issuer_job.issuers.host_rules import HostRule, allow

RULE = HostRule(namespaces=("team-*", "shop"), suffixes=("example.com", "Internal"))


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Anything with rules in it."""

    allowed_hosts: tuple[HostRule, ...] = ()


@pytest.mark.parametrize(
    "host", ["example.com", "www.example.com", "a.b.example.com", "*.example.com", "*.a.example.com", "db.internal"]
)
def test_a_suffix_stands_for_itself_and_all_below_it(host: str) -> None:
    assert RULE.allows("shop", host)


@pytest.mark.parametrize("host", ["com", "*.com", "notexample.com", "example.com.evil.org", "*.internals"])
def test_what_only_looks_like_the_suffix_is_not_below_it(host: str) -> None:
    assert not RULE.allows("shop", host)


@pytest.mark.parametrize(
    ("namespace", "expected"), [("shop", True), ("team-a", True), ("team", False), ("Shop", False)]
)
def test_namespaces_are_names_or_globs(namespace: str, expected: bool) -> None:
    assert RULE.allows(namespace, "example.com") is expected


def test_one_rule_of_several_is_enough_and_none_allows_nothing() -> None:
    other = HostRule(namespaces=("other",), suffixes=("example.org",))
    assert allow((other, RULE), "shop", "example.com")
    assert not allow((other, RULE), "shop", "example.org")
    assert not allow((), "shop", "example.com")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"namespaces": [], "suffixes": ["example.com"]}, "$.allowedHosts[0].namespaces"),
        ({"suffixes": ["example.com"]}, "missing required field `namespaces` - at `$.allowedHosts[0]"),
        ({"namespaces": ["a"], "suffixes": []}, "$.allowedHosts[0].suffixes"),
        ({"namespaces": ["a"]}, "missing required field `suffixes` - at `$.allowedHosts[0]"),
        ({"namespaces": [""], "suffixes": ["example.com"]}, "$.allowedHosts[0].namespaces[0]"),
        ({"namespaces": ["a"], "suffixes": "example.com"}, "$.allowedHosts[0].suffixes"),
        ({"namespaces": ["a"], "suffixes": ["x.org", "*.x.org"]}, "suffixes[1]: '*.x.org' is not a DNS name"),
        ({"namespaces": ["a"], "suffixes": [".example.com"]}, "suffixes[0]: '.example.com' is not a DNS name"),
        ({"namespaces": ["a"], "suffixes": ["ex ample.com"]}, "suffixes[0]: 'ex ample.com' is not a DNS name"),
        ({"namespaces": ["a"], "suffixes": ["10.0.0.1"]}, "suffixes[0]: '10.0.0.1' is not a DNS name"),
        ({"namespaces": ["a"], "suffixes": ["x.org"], "host": "x"}, "unknown field `host` - at `$.allowedHosts[0]"),
    ],
)
def test_a_wrong_rule_is_named_with_its_path(rule: dict[str, object], path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert({"allowedHosts": [rule]}, type=Document)
    assert path in str(wrong.value)
    assert "$.allowedHosts[0]" in str(wrong.value)
