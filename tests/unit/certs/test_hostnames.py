"""Host names a CA can certify, and coverage by a certificate's names."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.hostnames import PRIVATE_SUFFIXES, HostReason, check_host, covers, normalize, without_redundant


@pytest.mark.parametrize(
    "host",
    [
        "shop.acme.io",
        "acme.io",
        "a-b.c--d.acme.io",
        "1.2.3.acme.io",
        "xn--bcher-kva.acme.io",
        "acme.xn--p1ai",
        "latest.acme.io",
        "local.acme.io",
        "a" * 63 + ".acme.io",
        ".".join(["a" * 59] * 4) + ".abcdefghij.io",
    ],
)
def test_public_host_has_no_problem(host: str) -> None:
    assert check_host(host, allow_wildcard=False) is None


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("", HostReason.EMPTY),
        ("a" * 64 + ".acme.io", HostReason.TOO_LONG),
        (".".join(["a" * 59] * 4) + ".abcdefghijk.io", HostReason.TOO_LONG),
        ("10.0.0.1", HostReason.IP_ADDRESS),
        ("::1", HostReason.IP_ADDRESS),
        ("[2001:db8::1]", HostReason.IP_ADDRESS),
        ("10.0.0", HostReason.NUMERIC_TLD),
        ("shop.acme.123", HostReason.NUMERIC_TLD),
        ("shop_1.acme.io", HostReason.UNDERSCORE),
        ("Shop.acme.io", HostReason.BAD_CHARACTER),
        ("bücher.acme.io", HostReason.BAD_CHARACTER),
        ("shop.acme.io:443", HostReason.BAD_CHARACTER),
        ("shop.acme.io\n", HostReason.BAD_CHARACTER),
        ("shop.acme.io.", HostReason.BAD_LABEL),
        (".acme.io", HostReason.BAD_LABEL),
        ("shop..io", HostReason.BAD_LABEL),
        ("-shop.acme.io", HostReason.BAD_LABEL),
        ("shop-.acme.io", HostReason.BAD_LABEL),
        ("xn--.acme.io", HostReason.BAD_LABEL),
        ("xn--shop-.acme.io", HostReason.BAD_LABEL),
        ("xn--99999999.acme.io", HostReason.BAD_PUNYCODE),
        ("ab--cd.acme.io", HostReason.BAD_PUNYCODE),
        ("shop", HostReason.SINGLE_LABEL),
        ("*.io", HostReason.SINGLE_LABEL),
        ("localhost", HostReason.PRIVATE_NAME),
        ("shop.local", HostReason.PRIVATE_NAME),
        ("shop.ns.svc.cluster.local", HostReason.PRIVATE_NAME),
        ("shop.corp.internal", HostReason.PRIVATE_NAME),
        ("nas.home.arpa", HostReason.PRIVATE_NAME),
        ("shop.test", HostReason.PRIVATE_NAME),
        ("shop.example.com", HostReason.PRIVATE_NAME),
        ("*.local", HostReason.PRIVATE_NAME),
        ("*.acme.io", HostReason.WILDCARD_NOT_ALLOWED),
        ("*", HostReason.MISPLACED_WILDCARD),
        ("shop.*.io", HostReason.MISPLACED_WILDCARD),
        ("*.*.acme.io", HostReason.MISPLACED_WILDCARD),
        ("s*p.acme.io", HostReason.MISPLACED_WILDCARD),
    ],
)
def test_problem_has_its_reason(host: str, reason: HostReason) -> None:
    allow_wildcard = reason is not HostReason.WILDCARD_NOT_ALLOWED
    problem = check_host(host, allow_wildcard=allow_wildcard)
    assert problem is not None
    assert (problem.host, problem.reason) == (host, reason)


def test_every_reason_is_named_in_one_sentence() -> None:
    problem = check_host("shop.local", allow_wildcard=False)
    assert problem is not None
    assert problem.message == '"shop.local" is a private name (.local), which no public CA certifies.'


def test_wildcard_passes_where_allowed() -> None:
    assert check_host("*.acme.io", allow_wildcard=True) is None


def test_issuer_may_allow_private_names() -> None:
    allowed = PRIVATE_SUFFIXES - {"test"}
    assert check_host("shop.certjob.test", allow_wildcard=False, private_suffixes=allowed) is None
    assert check_host("shop.local", allow_wildcard=False, private_suffixes=allowed) is not None
    assert check_host("10.0.0.1", allow_wildcard=False, private_suffixes=frozenset()) is not None


def test_normalize_lowers_ascii_and_drops_one_dot() -> None:
    assert normalize("Shop.ACME.io.") == "shop.acme.io"
    assert normalize("shop..") == "shop."
    assert normalize("\u212a.io") == "\u212a.io", "the Kelvin sign must not become a k"


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (["shop.acme.io"], "shop.acme.io", True),
        (["SHOP.acme.io"], "shop.ACME.io.", True),
        (["*.acme.io"], "shop.acme.io", True),
        (["*.acme.io"], "xn--bcher-kva.acme.io", True),
        (["*.acme.io"], "acme.io", False),
        (["*.acme.io"], "a.shop.acme.io", False),
        (["*.acme.io"], ".acme.io", False),
        (["*.acme.io"], "*.acme.io", True),
        (["shop.acme.io"], "*.acme.io", False),
        (["*.io"], "*.acme.io", False),
        (["s*.acme.io"], "shop.acme.io", False),
        (["*"], "shop", False),
        (["*.0.0.1"], "10.0.0.1", False),
        ([], "shop.acme.io", False),
    ],
)
def test_coverage(names: list[str], host: str, covered: bool) -> None:
    assert covers(names, host) is covered


@pytest.mark.parametrize(
    ("hosts", "named"),
    [
        (["*.x.dev", "www.x.dev", "api.x.dev"], ["*.x.dev"]),
        (["www.x.dev", "x.dev", "a.b.x.dev", "*.x.dev"], ["x.dev", "a.b.x.dev", "*.x.dev"]),
        (["*.x.dev", "*.b.x.dev", "a.b.x.dev"], ["*.x.dev", "*.b.x.dev"]),
        (["www.x.dev", "www.y.dev", "*.y.dev"], ["www.x.dev", "*.y.dev"]),
        (["www.x.dev", "x.dev"], ["www.x.dev", "x.dev"]),
        ([], []),
    ],
)
def test_what_a_wildcard_beside_it_covers_need_not_be_named(hosts: list[str], named: list[str]) -> None:
    assert list(without_redundant(hosts)) == named
    assert all(covers(named, host) for host in hosts)


_labels = st.from_regex(r"[a-z0-9]([a-z0-9]{0,10})", fullmatch=True)
_hosts = st.lists(_labels, min_size=2, max_size=5).map(lambda labels: ".".join([*labels, "io"]))


@pytest.mark.exhaustive
@given(_hosts)
def test_every_plain_host_under_a_public_domain_passes(host: str) -> None:
    assert check_host(host, allow_wildcard=False) is None
    assert covers([host], host)
    assert covers(["*." + host.partition(".")[2]], host)
    assert not covers([host], "a." + host)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="ab1.-*_:[]%xn\x00é", max_size=80),
        st.text(alphabet="abz059-", max_size=58).map(lambda tail: f"xn--{tail}.io"),
    )
)
def test_any_text_gives_an_answer_that_can_be_shown(text: str) -> None:
    problem = check_host(text, allow_wildcard=True)
    if problem is None:
        assert text == normalize(text)
        assert len(text) <= 253
        assert all(0 < len(label) <= 63 for label in text.split("."))
    else:
        assert len(problem.message) <= 120
        assert problem.message.isascii()
        assert problem.message.isprintable()
        assert problem.message.endswith(".")
    assert covers([text], text)


def test_host_and_renewal_rules_do_not_import_cryptography() -> None:
    code = "import sys, certs.hostnames, certs.renewal; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
