"""What an Ingress wants: who opts in, which entries of spec.tls count, and what is wrong with the others."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import MAX_HOSTS, NoticeReason, Wants
from issuer_job.demand.ingress import named_hosts, named_secrets, opts_in, wants
from issuer_job.demand.ingress_spec import TlsEntry, own_entry, rule_hosts
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass, Settings

CA = "https://ca.certjob.dev/directory"
ISSUERS = Issuers(
    valid={
        "le": Issuer(server=CA),
        "inside": Issuer(server=CA, private_names=True),
        "vip": Issuer(server=CA, allowed_namespaces=("vip", "team-*")),
        "nginx": Issuer(server=CA, ingress_classes=("nginx",)),
    },
    broken={"bad": "issuer bad: no server"},
    default="le",
)


def ingress(*rules: str, tls: Any = None, notes: dict[str, str] | None = None, **metadata: Any) -> Json:
    notes = {v.TLS_ACME: "true"} | (notes or {})
    spec: Json = {"rules": [{"host": host} for host in rules or ("a.certjob.dev",)]}
    if tls is not None:
        spec["tls"] = tls
    return {"metadata": {"name": "web", "namespace": "shop", "annotations": notes, **metadata}, "spec": spec}


def seen(*rules: str, tls: Any = None, **more: Any) -> Wants:
    return wants(ingress(*rules, tls=tls, **more), issuers=ISSUERS)


def reasons(found: Wants) -> list[NoticeReason]:
    return [notice.reason for notice in found.notices]


def entries(found: Wants) -> dict[str, tuple[str, ...]]:
    return {entry.secret_name: entry.hosts for entry in found.entries}


@pytest.mark.parametrize(
    ("notes", "enabled", "expected"),
    [
        ({}, False, False),
        (None, False, False),
        ({v.TLS_ACME: "true"}, False, True),
        ({v.TLS_ACME: "TRUE"}, False, True),
        ({v.TLS_ACME: "True"}, False, True),
        ({v.TLS_ACME: "yes"}, False, False),
        ({v.TLS_ACME: ""}, False, False),
        ({v.TLS_ACME: "false"}, True, False),
        ({v.TLS_ACME: "False", v.ISSUER: "le"}, True, False),
        ({v.ISSUER: "le"}, False, True),
        ({v.ISSUER: ""}, False, False),
        ({v.ISSUER: "le", v.TLS_ACME: "maybe"}, False, True),
        ({}, True, True),
        (None, True, True),
        ({v.TLS_ACME: "maybe"}, True, True),
    ],
)
def test_who_opts_in(notes: Any, enabled: bool, expected: bool) -> None:
    body = ingress() | {"metadata": {"name": "web", "namespace": "shop", "annotations": notes}}
    assert opts_in(body, namespace_enabled=enabled) is expected
    found = wants(body, issuers=ISSUERS, namespace_enabled=enabled)
    assert found.opted_in is expected
    if not expected:
        assert (found.entries, found.added, reasons(found)) == ((), None, [NoticeReason.NOT_OPTED_IN])


def test_an_ingress_that_is_being_deleted_wants_nothing() -> None:
    found = seen(tls=[{"secretName": "s"}], deletionTimestamp="2026-01-01T00:00:00Z")
    assert (found.entries, reasons(found)) == ((), [NoticeReason.BEING_DELETED])


@pytest.mark.parametrize("tls", [None, []])
def test_without_tls_one_entry_is_added(tls: Any) -> None:
    found = seen("b.certjob.dev", "a.certjob.dev", "b.certjob.dev", tls=tls)
    assert found.added is not None
    name = found.added.secret_name
    assert re.fullmatch(r"a\.certjob\.dev-[0-9a-f]{10}-tls", name)
    assert found.added.hosts == ("b.certjob.dev", "a.certjob.dev")
    assert entries(found) == {name: ("a.certjob.dev", "b.certjob.dev")}


def added_name(*rules: str, name: str = "web", notes: dict[str, str] | None = None, **more: Any) -> str:
    found = wants(ingress(*rules, name=name, notes=notes or {}, **more), issuers=ISSUERS)
    assert found.added is not None
    return found.added.secret_name


def test_who_wants_the_same_shares_one_secret_whatever_it_is_called() -> None:
    a, b = "a.certjob.dev", "b.certjob.dev"
    same = {added_name(a, b), added_name(b, a), added_name(a, b, a, name="other"), added_name(a, b, uid="u")}
    assert len(same) == 1
    others = [added_name(a), added_name(b), added_name(a, b, notes={v.ISSUER: "inside"})]
    others += [added_name(a, b, notes={v.KEY_ALGORITHM: "rsa-2048"})]
    assert len({*same, *others}) == 1 + len(others)


def test_the_added_name_stays_through_growth_and_shrinking() -> None:
    before = wants(ingress("a.certjob.dev"), issuers=ISSUERS).added
    assert before is not None
    for hosts in (("a.certjob.dev", "b.certjob.dev"), ("b.certjob.dev",), ("c.certjob.dev",)):
        after = wants(ingress(*hosts), issuers=ISSUERS, former=before).added
        assert after == TlsEntry(before.secret_name, hosts)
        before = after


def test_the_name_of_a_wildcards_secret_is_one_that_kubernetes_takes() -> None:
    name = names.added_secret(("*.certjob.dev",), "x")
    assert name.startswith("wildcard.certjob.dev-")
    assert names.is_dns_subdomain(name)


def test_hosts_that_cannot_be_certified_are_left_out_of_the_added_entry() -> None:
    found = seen("a.certjob.dev", "10.0.0.1", "intern.local", "*.certjob.dev")
    assert found.added == TlsEntry(added_name("a.certjob.dev"), ("a.certjob.dev",))
    assert reasons(found) == [NoticeReason.BAD_HOST, NoticeReason.BAD_HOST, NoticeReason.WILDCARD]


def test_no_host_at_all() -> None:
    found = wants(ingress() | {"spec": {"rules": [{}, {"host": ""}]}}, issuers=ISSUERS)
    assert (found.entries, found.added, reasons(found)) == ((), None, [NoticeReason.NO_HOSTS])


def test_an_entry_without_hosts_means_the_rule_hosts() -> None:
    assert entries(seen("a.certjob.dev", "b.certjob.dev", tls=[{"secretName": "s"}])) == {
        "s": ("a.certjob.dev", "b.certjob.dev")
    }
    assert entries(seen(tls=[{"secretName": "s", "hosts": []}])) == {"s": ("a.certjob.dev",)}


def test_an_entry_without_a_secret_name_is_told() -> None:
    found = seen(tls=[{"hosts": ["a.certjob.dev"]}, {"secretName": "s", "hosts": ["a.certjob.dev"]}])
    assert entries(found) == {"s": ("a.certjob.dev",)}
    assert reasons(found) == [NoticeReason.NO_SECRET_NAME]
    assert "spec.tls[0]" in found.notices[0].message
    assert found.added is None


def test_entries_that_name_one_secret_twice_are_joined() -> None:
    hosts = (["b.certjob.dev", "a.certjob.dev"], ["B.certjob.dev"])
    assert entries(seen(tls=[{"secretName": "s", "hosts": part} for part in hosts])) == {
        "s": ("a.certjob.dev", "b.certjob.dev")
    }


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("10.0.0.1", NoticeReason.BAD_HOST),
        ("2001:db8::1", NoticeReason.BAD_HOST),
        ("intern", NoticeReason.BAD_HOST),
        ("printer.local", NoticeReason.BAD_HOST),
        ("db.internal", NoticeReason.BAD_HOST),
        ("a..dev", NoticeReason.BAD_HOST),
        ("under_score.dev", NoticeReason.BAD_HOST),
        ("", NoticeReason.BAD_HOST),
        ("ümlaut.dev", NoticeReason.BAD_HOST),
        ("*.certjob.dev", NoticeReason.WILDCARD),
        ("*.local", NoticeReason.BAD_HOST),
        ("a.*.dev", NoticeReason.BAD_HOST),
    ],
)
def test_one_bad_host_takes_the_whole_entry_but_no_other(host: str, reason: NoticeReason) -> None:
    tls = [{"secretName": "s", "hosts": ["a.certjob.dev", host]}, {"secretName": "t", "hosts": ["b.certjob.dev"]}]
    found = seen(tls=tls)
    assert entries(found) == {"t": ("b.certjob.dev",)}
    assert reasons(found) == [reason]
    assert "\n" not in found.notices[0].message


def test_private_names_where_the_issuer_allows_them() -> None:
    tls = [{"secretName": "s", "hosts": ["db.internal"]}]
    assert entries(seen(tls=tls, notes={v.ISSUER: "inside"})) == {"s": ("db.internal",)}


def test_too_many_hosts() -> None:
    hosts = [f"h{number}.certjob.dev" for number in range(MAX_HOSTS + 1)]
    assert reasons(seen(tls=[{"secretName": "s", "hosts": hosts}])) == [NoticeReason.TOO_MANY_HOSTS]
    assert len(entries(seen(tls=[{"secretName": "s", "hosts": hosts[1:]}]))["s"]) == MAX_HOSTS
    added = seen(*hosts)
    assert (added.added, reasons(added)) == (None, [NoticeReason.TOO_MANY_HOSTS])


@pytest.mark.parametrize("name", ["Upper", "a_b", "a/b", "-a", "s" * 254])
def test_a_name_that_no_secret_can_have(name: str) -> None:
    found = seen(tls=[{"secretName": name, "hosts": ["a.certjob.dev"]}])
    assert (found.entries, reasons(found)) == ((), [NoticeReason.BAD_SECRET_NAME])
    assert len(found.notices[0].message) < 120


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({v.ISSUER: "nobody"}, NoticeReason.UNKNOWN_ISSUER),
        ({v.ISSUER: "bad"}, NoticeReason.BROKEN_ISSUER),
        ({v.ISSUER: "vip"}, NoticeReason.ISSUER_NOT_ALLOWED),
        ({v.ISSUER: "nginx"}, NoticeReason.ISSUER_NOT_ALLOWED),
        ({v.KEY_ALGORITHM: "rsa-512"}, NoticeReason.BAD_ANNOTATION),
        ({v.PROFILE: "x" * 101}, NoticeReason.BAD_ANNOTATION),
        ({v.PREFERRED_CHAIN: "x" * 101}, NoticeReason.BAD_ANNOTATION),
    ],
)
def test_settings_that_cannot_be(notes: dict[str, str], reason: NoticeReason) -> None:
    found = seen(tls=[{"secretName": "s", "hosts": ["a.certjob.dev"]}], notes=notes)
    assert (found.opted_in, found.entries, found.added, reasons(found)) == (True, (), None, [reason])


def test_no_default_issuer() -> None:
    found = wants(ingress(), issuers=Issuers({"le": Issuer(server=CA)}, {}))
    assert reasons(found) == [NoticeReason.NO_DEFAULT_ISSUER]


def test_who_may_use_an_issuer() -> None:
    assert entries(seen(notes={v.ISSUER: "vip"}, namespace="team-a"))
    assert entries(seen(notes={v.ISSUER: "nginx", v.INGRESS_CLASS: "nginx"}))
    assert not entries(seen(notes={v.ISSUER: "nginx", v.INGRESS_CLASS: "traefik"}))


def test_the_source_is_what_the_record_needs() -> None:
    notes = {v.ISSUER: "inside", v.KEY_ALGORITHM: "rsa-2048", v.PROFILE: "p", v.PREFERRED_CHAIN: "X1"}
    body = ingress(tls=[{"secretName": "s", "hosts": ["A.certjob.dev."]}], notes=notes | {v.INGRESS_CLASS: "old"})
    body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z"}
    body["spec"]["ingressClassName"] = "new"
    [entry] = wants(body, issuers=ISSUERS).entries
    assert entry.source.settings == Settings(
        issuer="inside", key_algorithm="rsa-2048", profile="p", preferred_chain="X1"
    )
    assert entry.source.ingress_class == IngressClass(field="new", annotation="old")
    assert (entry.source.name, entry.source.uid) == ("web", "u")
    assert entry.source.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert entry.hosts == ("a.certjob.dev",)


def test_generate_name() -> None:
    found = wants(ingress(name="", generateName="web-"), issuers=ISSUERS)
    assert found.added is not None
    assert found.added.secret_name == added_name("a.certjob.dev")
    assert found.entries[0].source.key == "Ingress/~web-"
    assert wants(ingress(name="", generateName="web-"), issuers=ISSUERS) == found


def patched(hosts: list[str], rules: tuple[str, ...], **more: Any) -> Json:
    """An Ingress as it is after the webhook added its entry."""
    added = TlsEntry("web-tls", tuple(hosts))
    return ingress(*rules, tls=[{"secretName": "web-tls", "hosts": hosts}], notes={v.TLS_ENTRY: added.marker}, **more)


def test_our_own_entry_follows_the_rules() -> None:
    body = patched(["a.certjob.dev"], ("a.certjob.dev", "b.certjob.dev"))
    assert own_entry(body) == TlsEntry("web-tls", ("a.certjob.dev",))
    found = wants(body, issuers=ISSUERS)
    assert found.added == TlsEntry("web-tls", ("a.certjob.dev", "b.certjob.dev"))
    assert entries(found) == {"web-tls": ("a.certjob.dev", "b.certjob.dev")}


def test_our_entry_edited_by_the_user_is_theirs() -> None:
    body = patched(["a.certjob.dev"], ("a.certjob.dev", "b.certjob.dev"))
    body["spec"]["tls"][0]["hosts"] = ["b.certjob.dev"]
    assert own_entry(body) is None
    found = wants(body, issuers=ISSUERS)
    assert (found.added, entries(found)) == (None, {"web-tls": ("b.certjob.dev",)})


def test_our_entry_beside_another_is_theirs_too() -> None:
    body = patched(["a.certjob.dev"], ("a.certjob.dev", "b.certjob.dev"))
    body["spec"]["tls"].append({"secretName": "second", "hosts": ["b.certjob.dev"]})
    assert own_entry(body) is None
    assert set(entries(wants(body, issuers=ISSUERS))) == {"web-tls", "second"}


def test_an_update_without_tls_keeps_the_secret_of_before() -> None:
    found = wants(ingress(), issuers=ISSUERS, former=TlsEntry("web-abc-tls", ("x.dev",)))
    assert found.added == TlsEntry("web-abc-tls", ("a.certjob.dev",))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": {}},
        {"metadata": {"annotations": None}, "spec": None},
        {"metadata": {"annotations": {v.TLS_ACME: "true"}}, "spec": None},
        {"metadata": {"annotations": {v.TLS_ACME: "true"}}, "spec": {"rules": None, "tls": None}},
        {"metadata": {"annotations": {v.TLS_ACME: "true"}}, "spec": {"tls": [{}], "rules": [{"http": None}]}},
        {
            "metadata": {"annotations": {v.TLS_ACME: "true"}, "name": None, "generateName": None, "uid": None},
            "spec": {"tls": [{"secretName": None, "hosts": None}], "rules": [{"host": None}]},
        },
        {"metadata": {"annotations": {v.TLS_ACME: "true"}}, "spec": {"tls": [{"secretName": "s", "hosts": [""]}]}},
    ],
)
def test_empty_shapes_want_nothing(body: Json) -> None:
    assert wants(body, issuers=ISSUERS).entries == ()
    assert wants(body, issuers=ISSUERS, namespace_enabled=True).entries == ()


@pytest.mark.exhaustive
@given(st.lists(st.text(max_size=300), max_size=5), st.text(max_size=260), st.text(max_size=120))
def test_whatever_a_user_writes(hosts: list[str], secret_name: str, text: str) -> None:
    notes = {v.ISSUER: text, v.PROFILE: text, v.TLS_ENTRY: text}
    found = seen(*hosts, tls=[{"secretName": secret_name, "hosts": hosts}], notes=notes)
    assert all("\n" not in notice.message for notice in found.notices if notice.reason is NoticeReason.BAD_HOST)
    assert all(entry.secret_name == secret_name for entry in found.entries)


def test_what_an_ingress_names() -> None:
    body = {"spec": {"rules": [{"host": "A.dev."}, {}], "tls": [{"hosts": ["b.dev"]}, {"secretName": "x"}]}}
    assert set(named_hosts(body)) == {"a.dev", "b.dev"}
    assert not list(named_hosts({}))


def test_rule_hosts_come_once_in_their_order() -> None:
    assert rule_hosts(ingress("b.dev", "A.dev", "a.dev.", "b.dev")) == ["b.dev", "a.dev"]


def test_equal_notices_are_told_once() -> None:
    assert len(seen("intern.local", "INTERN.local").notices) == 2  # the host, and that none is left


@pytest.mark.parametrize(("text", "seconds"), [("720h", 720 * 3600), ("30d", 30 * 86400), ("1h30m", 5400)])
def test_renew_before(text: str, seconds: int) -> None:
    found = seen(tls=[{"secretName": "s"}], notes={v.RENEW_BEFORE: text})
    assert found.notices == ()
    assert found.entries[0].source.settings == Settings(issuer="le", renew_before=seconds)


@pytest.mark.parametrize("text", ["soon", "-1h", "0s", "99999d"])
def test_a_renew_before_that_is_none_costs_no_certificate(text: str) -> None:
    found = seen(tls=[{"secretName": "s"}], notes={v.RENEW_BEFORE: text})
    assert reasons(found) == [NoticeReason.BAD_ANNOTATION]
    assert v.RENEW_BEFORE in found.notices[0].message
    assert found.entries[0].source.settings == Settings(issuer="le")


@pytest.mark.parametrize("key", [v.RENEW_BEFORE, v.RETRY])
@pytest.mark.parametrize(("length", "fine"), [(100, True), (101, False)])
def test_annotations_are_bounded(key: str, length: int, fine: bool) -> None:
    found = seen(tls=[{"secretName": "s"}], notes={key: "1" * length})
    assert bool(found.entries) is fine


def test_the_retry_annotation_is_part_of_the_source() -> None:
    assert seen(tls=[{"secretName": "s"}], notes={v.RETRY: "today"}).entries[0].source.retry == "today"
    assert seen(tls=[{"secretName": "s"}]).entries[0].source.retry == ""


def named(body: Json, *, enabled: bool = False) -> frozenset[str]:
    return named_secrets(body, namespace_enabled=enabled)


TWO = [{"secretName": "a", "hosts": ["a.certjob.dev"]}, {"secretName": "b"}, {"hosts": ["c.certjob.dev"]}]


@pytest.mark.parametrize(
    "notes", [{}, {v.ISSUER: "bad"}, {v.ISSUER: "nowhere"}, {v.KEY_ALGORITHM: "none"}, {v.RETRY: "x" * 999}]
)
def test_whatever_is_wrong_its_secrets_are_named(notes: dict[str, str]) -> None:
    assert named(ingress("*.bad.certjob.dev", tls=TWO, notes=notes)) == {"a", "b"}


def test_who_does_not_opt_in_names_nothing() -> None:
    out = ingress(tls=TWO, notes={v.TLS_ACME: "false"})
    assert named(out, enabled=True) == frozenset()
    silent = ingress(tls=TWO, notes={v.TLS_ACME: ""})
    assert named(silent) == frozenset()
    assert named(silent, enabled=True) == {"a", "b"}


def test_who_is_being_deleted_names_nothing() -> None:
    assert named(ingress(tls=TWO, deletionTimestamp="2026-01-01T00:00:00Z")) == frozenset()


@pytest.mark.parametrize("tls", [None, []])
def test_without_tls_nothing_is_named(tls: Any) -> None:
    assert named(ingress(tls=tls)) == frozenset()
