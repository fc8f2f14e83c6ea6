"""Names of objects: within Kubernetes' limits, the same every time, and never the same for two things."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from issuer_job import names
from tests.worlds.samples import attempt, record

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
SUBDOMAIN = st.lists(LABEL, min_size=1, max_size=5).map(".".join).filter(lambda name: len(name) <= 253)
EPOCH = st.integers(1_700_000_000, 9_999_999_999)
UID = st.uuids(version=4).map(str)
SERVER = "https://ca.certjob.dev/directory"


@pytest.mark.exhaustive
@given(LABEL, SUBDOMAIN, UID, EPOCH)
def test_every_name_is_one_that_kubernetes_takes(namespace: str, secret: str, uid: str, epoch: int) -> None:
    for name in (
        names.record(namespace, secret),
        names.challenge(uid, epoch),
        names.pending_key(uid, epoch),
        names.dns_trace(uid),
        names.event(secret, "CertificateIssued", "uid", str(epoch)),
        names.issuer_state(namespace, SERVER),
        names.account(namespace, SERVER, 7),
        names.credentials(namespace),
        names.added_secret((secret,), "intent"),
        names.claim(secret),
        names.route("field:nginx", secret),
    ):
        assert names.is_dns_subdomain(name), name


@pytest.mark.exhaustive
@given(LABEL, SUBDOMAIN, UID, EPOCH)
def test_a_job_leaves_room_for_its_pods(namespace: str, secret: str, uid: str, epoch: int) -> None:
    name = names.job(namespace, secret, uid, epoch)
    assert len(name) <= 57
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert name.endswith(f"-{uid.replace('-', '')[:16]}-{epoch}")


@pytest.mark.parametrize(
    ("namespace", "secret", "head"),
    [
        ("shop", "pay-tls", "shop-pay-tls"),
        ("team-b", "www.example.com-tls", "team-b-www-example-com-tls"),
        ("shop", "shop-b0d732.certjob.test-39a6b4fb34-tls", "shop-shop-b0d732-certjob-test"),
        ("customer-4711-production", "www-tls", "customer-4711-product-www-tls"),
        ("customer-4711-production", "www.customer.example-tls", "customer-4711-www-customer-ex"),
        ("a" * 13 + "-b", "c" * 30, "a" * 13 + "-" + "c" * 15),
    ],
)
def test_a_jobs_name_says_whose_it_is(namespace: str, secret: str, head: str) -> None:
    name = names.job(namespace, secret, "4ed87a75-01aa-4bcd-8eef-001122334455", 1_795_324_855)
    assert name == f"{head}-4ed87a7501aa4bcd-1795324855"


def test_a_name_as_a_label_is_cut_and_stays_apart_from_others() -> None:
    assert [names.label(name) for name in ("a", "a.b-tls", "a" * 63)] == ["a", "a.b-tls", "a" * 63]
    long = [f"{'a' * 51}.{'b' * 20}.{end}" for end in "xy"]
    assert len({names.label(name) for name in long}) == 2
    for name in long:
        assert re.fullmatch("a{51}-[0-9a-f]{10}", names.label(name))


def belongings(namespace: str, secret: str, uid: str, epoch: int) -> set[str]:
    """All names of what belongs to one attempt of a record."""
    own = {names.challenge(uid, epoch), names.pending_key(uid, epoch), names.dns_trace(uid)}
    return own | {names.job(namespace, secret, uid, epoch)}


@pytest.mark.exhaustive
@given(SUBDOMAIN, SUBDOMAIN, UID, UID, EPOCH, EPOCH)
def test_nothing_of_two_records_ever_meets_whatever_their_secrets_are_called(
    secret: str, other: str, uid: str, another: str, epoch: int, later: int
) -> None:
    if uid[:18] != another[:18]:
        assert not belongings("shop", secret, uid, epoch) & belongings("shop", other, another, later)


@pytest.mark.exhaustive
@given(LABEL, SUBDOMAIN, UID, EPOCH, EPOCH)
def test_a_record_has_nothing_but_its_own_pending_keys(
    namespace: str, secret: str, uid: str, epoch: int, other: int
) -> None:
    """Whatever somebody has written into it."""
    made = replace(record(), namespace=namespace, secret_name=secret, uid=uid)
    own = {names.pending_key(who, other) for who in (uid, names.old_hash(namespace, secret))}
    others = {
        names.pending_key(str(UUID(int=5)), other),
        names.pending_key("0" * 10, other),
        "certjob-webhook-ca",
        "",
    }
    for name in own | others:
        named = replace(made, attempt=attempt(epoch=epoch, pending_key=name)).pending_name
        assert named == (name if name in own else names.pending_key(uid, epoch))


@pytest.mark.exhaustive
@given(LABEL, LABEL, SUBDOMAIN, SUBDOMAIN)
def test_two_secrets_have_two_records(namespace: str, other: str, secret: str, another: str) -> None:
    if (namespace, secret) != (other, another):
        assert names.record(namespace, secret) != names.record(other, another)


@given(st.text(max_size=300), st.integers(20, 253))
def test_fit(text: str, limit: int) -> None:
    fitted = names.fit(text, limit, unique=text)
    assert len(fitted) <= limit
    if len(text) <= limit:
        assert fitted == text


def test_long_names_with_one_beginning_stay_apart() -> None:
    long = "x" * 250
    assert names.record("shop", long + "aaa") != names.record("shop", long + "bbb")
    assert names.added_secret((long,), "") != names.added_secret((long + "b",), "")
    assert len(names.record("n" * 63, "s" * 253)) == 253


def test_dots_do_not_run_names_together() -> None:
    assert names.job("x", "a.b", "uid", 1).startswith("x-a-b-")
    assert names.record("a", "b.c") == "a.b.c"


def test_the_parts_of_a_digest_do_not_run_together() -> None:
    assert names.digest("ab", "c") != names.digest("a", "bc")
    assert names.digest("a") != names.digest("a", "")
    assert len(names.digest("a", length=16)) == 16


def test_a_cut_name_does_not_end_in_a_dot_or_hyphen_before_the_hash() -> None:
    name = "a" * 240 + "...---" + "b" * 20
    assert "a-" + names.digest(name) in names.fit(name, 253, unique=name)
    assert names.is_dns_subdomain(names.record("shop", "a" * 236 + "." + "b" * 10 + "." + "c" * 5))


def test_the_added_secret_has_the_same_name_at_every_apply() -> None:
    name = names.added_secret(("a.b", "c.d"), "intent")
    assert name == names.added_secret(("c.d", "a.b"), "intent")
    assert len({name, names.added_secret(("a.b",), "intent"), names.added_secret(("a.b", "c.d"), "other")}) == 3
    assert name.startswith("a.b-")


def test_routes_tell_classes_apart() -> None:
    assert names.route("field:nginx", "a.b") != names.route("annotation:nginx", "a.b")
    assert names.route("field:nginx", "a.b") != names.route("field:nginx", "a.c")


def test_accounts_tell_directories_apart() -> None:
    assert names.account("le", SERVER, 1) != names.account("le", SERVER + "/staging", 1)
    assert names.account("le", SERVER, 1) != names.account("le", SERVER, 2)
    assert names.issuer_state("le", SERVER) == f"issuer-state-le-{names.directory_hash(SERVER)}"


def test_dns_subdomains() -> None:
    assert names.is_dns_subdomain("a.b-c.d0")
    for bad in ("", "A", "a..b", "-a", "a-", "a_b", "a/b", "a" * 254, ".a", "a.", "ü", "a\n"):
        assert not names.is_dns_subdomain(bad), bad


@pytest.mark.parametrize("text", ["", "x", "-1", "+1", " 1", "1.0", "1_0", "²", "٣", 20 * "9", 5000 * "9"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert names.number(text) == 0
    assert names.number(text, default=1) == 1


def test_an_epoch_is_what_a_name_ends_with() -> None:
    assert names.number("0007") == 7
    assert names.epoch_of(names.challenge("0f6bd5b4-9a4f-4d8e-9a1e-7f1f6f5d3c2b", 1_700_000_000)) == 1_700_000_000
    assert names.epoch_of("challenge-1-x") == names.epoch_of("") == 0
