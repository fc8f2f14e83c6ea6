from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job import vocabulary as v
from issuer_job.demand.ingress import wants
from issuer_job.demand.ingress_spec import TlsEntry, own_entry
from tests.fakes.webhook_parts import ISSUERS
from tests.worlds.reviews import Golden, decision_on, golden_reviews, ingress, read, review
from webhook.decide_ingress import IngressPolicy, make_patch
from webhook.policy import Decision

PATCHED = [golden for golden in golden_reviews() if golden.expected["patch"]]


def apply(patch: Any, before: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = jsonpatch.apply_patch(before, list(patch))
    return result


def after(before: dict[str, Any], added: TlsEntry) -> dict[str, Any]:
    """What shall come out, built without any diff."""
    result = deepcopy(before)
    notes = result["metadata"].get("annotations") or {}
    result["metadata"]["annotations"] = {**notes, "certjob.io/tls-entry": added.marker_on(before)}
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


@pytest.mark.exhaustive
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
    # A mark of before there were copies stays as long as the entry does.
    assert result == (before if (tls, former) == ("marked", new) else after(before, new))
    assert make_patch(result, new) == ()


def test_a_marker_copied_from_another_ingress_is_replaced() -> None:
    before = ingress()
    before["metadata"]["annotations"]["certjob.io/tls-entry"] = "other-tls 0123456789"
    result = apply(make_patch(before, TlsEntry("web-tls", ("shop.certjob.dev",))), before)
    assert added_of(result).secret_name == "web-tls"


def test_a_copy_of_another_ingress_gets_an_entry_of_its_own() -> None:
    """`kubectl get -o yaml` and another name: the first one's certificate must not depend on the copy."""
    first = apply(decided(ingress()).patch, ingress())
    for hosts in (["shop.certjob.dev"], ["copy.certjob.dev"]):
        copy = deepcopy(first)
        copy["metadata"]["name"] = "copy"
        copy["spec"]["rules"] = [{"host": host} for host in hosts]
        decision = decided(copy)
        patched = apply(decision.patch, copy)
        own = added_of(patched)
        assert (list(own.hosts), own.secret_name == added_of(first).secret_name) == (
            hosts,
            hosts == ["shop.certjob.dev"],
        )
        assert [(entry.secret_name, list(entry.hosts)) for entry in decision.launch] == [(own.secret_name, hosts)]
        assert decided(patched).patch == ()


def test_a_copy_that_is_stored_already_is_served_by_what_it_names() -> None:
    """The webhook was away: the sweep and the Job take the entry as its owner's."""
    copy = apply(decided(ingress()).patch, ingress())
    copy["metadata"] |= {"name": "copy", "namespace": "shop"}
    copy["spec"]["rules"] = [{"host": "copy.certjob.dev"}]
    wanted = wants(copy, issuers=ISSUERS)
    named = copy["spec"]["tls"][0]["secretName"]
    assert [(entry.secret_name, entry.hosts) for entry in wanted.entries] == [(named, ("shop.certjob.dev",))]
    assert wanted.completed is None


def test_made_anew_under_its_name_it_keeps_its_entry() -> None:
    stored = apply(decided(ingress()).patch, ingress())
    assert decided(stored).patch == ()
    generated = ingress(name="", generateName="web-")
    first = apply(decided(generated).patch, generated)
    first["metadata"]["name"] = "web-x7k2p"
    assert decided(first).patch == ()


def test_the_entry_goes_with_the_last_host_of_the_rules() -> None:
    old = apply(decided(ingress()).patch, ingress())
    new = deepcopy(old)
    new["spec"]["rules"] = [{}]
    decision = decided(new, old=old)
    left = apply(decision.patch, new)
    assert "tls" not in left["spec"]
    assert v.TLS_ENTRY not in left["metadata"]["annotations"]
    assert (decision.launch, "no host in spec.rules" in decision.warnings[0]) == ((), True)
    theirs = ingress()
    theirs["spec"] = {"rules": [{}], "tls": [{"secretName": "mine", "hosts": ["a.certjob.dev"]}]}
    assert decided(theirs).patch == ()


def decided(new: dict[str, Any], old: dict[str, Any] | None = None) -> Decision:
    operation = "CREATE" if old is None else "UPDATE"
    return decision_on(read(Golden("", False, review(new, old=old, operation=operation), {}).body))


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
