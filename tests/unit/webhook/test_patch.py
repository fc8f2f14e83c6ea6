from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job.demand.ingress import TlsEntry, own_entry, wants
from tests.fakes.webhook_parts import ISSUERS
from tests.worlds.reviews import Golden, decision_on, golden_reviews, ingress, read
from webhook.decide_ingress import IngressPolicy, make_patch

PATCHED = [golden for golden in golden_reviews() if golden.expected["patch"]]


def apply(patch: Any, before: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = jsonpatch.apply_patch(before, list(patch))
    return result


def after(before: dict[str, Any], added: TlsEntry) -> dict[str, Any]:
    """What shall come out, built without any diff."""
    result = deepcopy(before)
    notes = result["metadata"].get("annotations") or {}
    result["metadata"]["annotations"] = {**notes, "certjob.io/tls-entry": added.marker}
    result["spec"] = {
        **(result.get("spec") or {}),
        "tls": [{"hosts": list(added.hosts), "secretName": added.secret_name}],
    }
    return result


def added_of(document: dict[str, Any]) -> TlsEntry:
    entry = own_entry(document)
    assert entry is not None
    return entry


@pytest.mark.parametrize("golden", PATCHED, ids=[golden.name for golden in PATCHED])
def test_applied_to_before_it_gives_after_and_then_nothing_more(golden: Golden) -> None:
    before = golden.review["request"]["object"]
    untouched = deepcopy(before)
    policy = IngressPolicy(golden.namespace_enabled)
    first = decision_on(read(golden.body), policy)
    result = apply(first.patch, before)
    assert result == after(before, added_of(result))
    assert before == untouched

    again = deepcopy(golden.review)
    again["request"]["object"] = result
    second = decision_on(read(Golden("", False, again, {}).body), policy)
    assert second.patch == ()
    assert second.launch == first.launch


hosts = st.lists(st.from_regex(r"[a-z]{1,5}\.certjob\.dev", fullmatch=True), min_size=1, max_size=5, unique=True)
annotations = st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


@given(
    before_hosts=hosts,
    after_hosts=hosts,
    notes=annotations,
    tls=st.sampled_from(["absent", "null", "empty", "own", "marked"]),
)
def test_any_former_entry_becomes_the_new_one(
    before_hosts: list[str], after_hosts: list[str], notes: dict[str, str] | None, tls: str
) -> None:
    former, new = TlsEntry("web-tls", tuple(before_hosts)), TlsEntry("web-tls", tuple(after_hosts))
    before = ingress(after_hosts)
    before["metadata"]["annotations"] = notes
    if tls != "absent":
        own = [{"hosts": before_hosts, "secretName": "web-tls"}]
        before["spec"]["tls"] = {"null": None, "empty": []}.get(tls, own)
    if tls == "marked":
        before["metadata"]["annotations"] = {**(notes or {}), "certjob.io/tls-entry": former.marker}
    patch = make_patch(before, new)
    result = apply(patch, before)
    assert result == after(before, new)
    assert make_patch(result, new) == ()


def test_a_marker_copied_from_another_ingress_is_replaced() -> None:
    before = ingress()
    before["metadata"]["annotations"]["certjob.io/tls-entry"] = "other-tls 0123456789"
    result = apply(make_patch(before, TlsEntry("web-tls", ("shop.certjob.dev",))), before)
    assert added_of(result).secret_name == "web-tls"


def test_the_rules_are_not_part_of_the_comparison() -> None:
    patched = make_patch(
        ingress() | {"spec": {"rules": [{"host": "h"}], "defaultBackend": {}}}, TlsEntry("s", ("h",))
    )
    assert {operation["path"] for operation in patched} == {
        "/metadata/annotations/certjob.io~1tls-entry",
        "/spec/tls",
    }


@pytest.mark.parametrize(
    "entries",
    [
        [{"hosts": ["shop.certjob.dev"], "secretName": "mine"}],
        [{"hosts": ["shop.certjob.dev"]}],
        [{}],
        [{"hosts": [], "secretName": "web-tls"}],
        [{"hosts": ["shop.certjob.dev"], "secretName": "web-tls"}],
        [
            {"hosts": ["a.certjob.dev"], "secretName": "web-tls"},
            {"hosts": ["b.certjob.dev"], "secretName": "web-tls"},
        ],
    ],
)
def test_an_entry_that_the_user_wrote_is_never_edited(entries: list[dict[str, Any]]) -> None:
    """Also if it looks like certjob's, and also if certjob's own was there before."""
    old = ingress()
    entry = TlsEntry("web-tls", ("old.certjob.dev",))
    old["spec"]["tls"] = [{"hosts": list(entry.hosts), "secretName": entry.secret_name}]
    old["metadata"]["annotations"]["certjob.io/tls-entry"] = entry.marker
    for marker in (None, entry.marker, "nonsense", ""):
        new = ingress()
        new["spec"]["tls"] = entries
        if marker is not None:
            new["metadata"]["annotations"]["certjob.io/tls-entry"] = marker
        wanted = wants(new, issuers=ISSUERS, former=own_entry(old))
        assert wanted.added is None
        assert wanted.added is None or make_patch(new, wanted.added) == ()
