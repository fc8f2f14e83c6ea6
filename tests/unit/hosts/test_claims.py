"""Which namespace holds a host, and when a claim is given up."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, Cluster, Json
from issuer_job.demand.askers import Asker
from issuer_job.hosts import at_sweep, claims
from issuer_job.hosts.at_sweep import Holders, read_claims
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.loss import LostRight
from issuer_job.hosts.precedence import Claim, Namers, judge_claim
from issuer_job.issuers.options import HostPolicy, Options
from issuer_job.polling import utc_now
from issuer_job.record.phases import ABSENCE_GRACE
from issuer_job.record.record import Phase, Record, Retry, SourceKind
from tests.fakes.api import Attempt, FakeApi, Response, denied, status
from tests.worlds.hosts import holder
from tests.worlds.samples import HOSTS, PROBLEM, SETTINGS, issued, record, source

OLD = "2026-01-01T00:00:00Z"
CHECKED = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LATER = ABSENCE_GRACE + timedelta(seconds=5)
LAPSED = 24 * HOUR + timedelta(seconds=5)


def ingress(namespace: str, *hosts: str, tls: str = "", **metadata: str) -> Json:
    spec: Json = {"rules": [{"host": host} for host in hosts], "tls": [{"hosts": [tls]}] if tls else None}
    return {"metadata": {"name": "web", "namespace": namespace, **metadata}, "spec": spec}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cluster(api: FakeApi) -> Cluster:
    return Cluster(api)


def tidy(
    cluster: Cluster,
    *ingresses: Json,
    after: timedelta = LATER,
    options: Options | None = None,
    records: tuple[Record, ...] = (),
) -> tuple[Holders, dict[str, int]]:
    """One pass over the claims, which has read these Ingresses."""
    namers = Namers()
    for body in ingresses:
        namers.add(Asker(SourceKind.INGRESS, body))
    now, until = utc_now() + after, time.monotonic() + 30
    holders = Holders(options or Options(), namers, now)
    return holders, at_sweep.tidy(cluster, holders, at_sweep.Records(records), read_claims(cluster), until=until)


def released(cluster: Cluster, *ingresses: Json, after: timedelta = LATER, start: timedelta = timedelta(0)) -> int:
    """How many claims go in the passes from `start` to `after` (from now), one at least every hour."""
    moments = [start + n * HOUR for n in range((after - start) // HOUR + 1)]
    moments += [after] if moments[-1] != after else []
    return sum(tidy(cluster, *ingresses, after=moment)[1].get("claims released", 0) for moment in moments)


def taken(cluster: Cluster, host: str, namespace: str, *, checked: bool = False) -> Claim:
    claim = claims.take(cluster, host, namespace)
    if checked:
        assert claims.mark_checked(cluster, claim, now=CHECKED)
    found = claims.claim_of(cluster, host)
    assert found is not None
    return found


def test_the_first_one_holds_it(cluster: Cluster) -> None:
    assert holder(cluster, "a.dev") is None
    assert claims.take(cluster, "a.dev", "one").namespace == "one"
    assert claims.take(cluster, "a.dev", "two").namespace == "one"
    assert holder(cluster, "a.dev") == "one"


def test_a_claim_that_goes_while_it_is_asked_for_is_taken_after_all(cluster: Cluster, api: FakeApi) -> None:
    api.fail("POST", "/configmaps", status(409, "AlreadyExists", "just then"))
    assert claims.take(cluster, "a.dev", "two").namespace == "two"


def test_a_mark_is_kept_and_is_conditional(cluster: Cluster) -> None:
    first = taken(cluster, "a.dev", "one")
    assert first.checked is None
    assert claims.mark_checked(cluster, first, now=CHECKED)
    assert taken(cluster, "a.dev", "one").checked == CHECKED
    assert not claims.mark_checked(cluster, first, now=CHECKED + LATER)
    assert not claims.give_up_claim(cluster, first)
    assert taken(cluster, "a.dev", "one").checked == CHECKED


def test_claims_that_overlap_are_found_from_both_sides(cluster: Cluster) -> None:
    wildcard, below = taken(cluster, "*.x.dev", "one"), taken(cluster, "a.x.dev", "two")
    taken(cluster, "b.x.dev", "one")
    taken(cluster, "a.b.x.dev", "two")
    taken(cluster, "a.y.dev", "two")
    assert claims.rivals(cluster, below) == [wildcard]
    assert claims.rivals(cluster, wildcard) == [below]
    assert claims.rivals(cluster, taken(cluster, "x.dev", "two")) == []


def test_a_claim_of_an_earlier_certjob_is_found_and_gets_its_label(cluster: Cluster, api: FakeApi) -> None:
    former = claim_body("a.x.dev", "two", checked=CHECKED)
    del former["metadata"]["labels"][v.CLAIM_PARENT]
    api.add(CONFIGMAPS, v.NAMESPACE, former)
    wildcard = taken(cluster, "*.x.dev", "one")
    assert [rival.host for rival in claims.rivals(cluster, wildcard)] == ["a.x.dev"]
    tidy(cluster, ingress("two", "a.x.dev"), ingress("one", "*.x.dev"))
    stored = api.stored(CONFIGMAPS, v.NAMESPACE, names.claim("a.x.dev"))
    assert stored is not None
    assert stored["metadata"]["labels"][v.CLAIM_PARENT] == names.claim_parent("*.x.dev")
    assert (stored["data"], Claim.from_config_map(stored).checked) == (former["data"], CHECKED)


def former_claim(api: FakeApi, host: str = HOSTS[0]) -> None:
    """As an earlier certjob made them: without label and mark."""
    body = claim_body(host, "shop")
    del body["metadata"]["labels"][v.CLAIM_PARENT]
    api.add(CONFIGMAPS, v.NAMESPACE, body)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_claim_of_an_earlier_certjob_is_good_for_what_was_ordered(
    cluster: Cluster, api: FakeApi, ordered: bool
) -> None:
    """Else an older Ingress of a neighbour that shares the host would end its renewals after an upgrade."""
    former_claim(api)
    older = ingress("neighbour", HOSTS[0], creationTimestamp=OLD)
    mine = replace(record(Phase.ISSUED), issued=issued(directory="https://ca/dir" if ordered else ""))
    for _ in range(2):
        tidy(cluster, ingress("shop", HOSTS[0]), older, records=(mine,))
    found = claims.claim_of(cluster, HOSTS[0])
    assert (found is not None and found.checked is not None) is ordered


def test_a_claim_that_may_not_be_labelled_keeps_no_other_from_being_tidied(
    cluster: Cluster, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    former_claim(api)
    taken(cluster, "unused.dev", "two")
    api.fail("PUT", names.claim(HOSTS[0]), status(403, "Forbidden", "denied request: certjob-cm"))
    assert released(cluster, ingress("shop", HOSTS[0])) == 1
    assert "claim-unreadable" in caplog.text


def test_a_claim_that_may_not_be_written_keeps_no_other_from_being_tidied(
    cluster: Cluster, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        taken(cluster, f"unused{number}.dev", "two")
    tidy(cluster, after=timedelta(0))
    taken(cluster, "by-hand.dev", "two")

    def refused(attempt: Attempt) -> Response | None:
        mine = attempt.old is not None and attempt.old["data"].get("host") == "by-hand.dev"
        return status(403, "Forbidden", "denied request: certjob-cm") if mine else None

    api.hooks["configmaps"] = refused
    counts = tidy(cluster)[1]
    assert (counts["claims released"], counts["trouble"]) == (4, 1)
    assert "claim-unreadable" in caplog.text


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize(
    ("ingresses", "gone"),
    [
        ([], True),
        ([ingress("one", "a.dev")], False),
        ([ingress("one", tls="A.dev.")], False),
        ([ingress("two", "a.dev", creationTimestamp="2100-01-01T00:00:00Z")], True),
        ([ingress("one", "b.dev")], True),
        ([ingress("one", "a.dev", deletionTimestamp=OLD)], False),
    ],
    ids=["no ingress", "in a rule", "in tls, spelled otherwise", "other namespace", "other host", "being deleted"],
)
def test_a_claim_is_given_up_when_no_ingress_of_its_namespace_names_the_host(
    cluster: Cluster, ingresses: list[Json], gone: bool, checked: bool
) -> None:
    taken(cluster, "a.dev", "one", checked=checked)
    assert released(cluster, *ingresses, after=LAPSED if checked else LATER) == int(gone)
    assert (holder(cluster, "a.dev") is None) is gone


@pytest.mark.parametrize(("checked", "stays"), [(False, 9 * MINUTE), (True, 23 * HOUR)])
def test_a_claim_has_its_grace_from_the_first_look_that_finds_it_unnamed(
    cluster: Cluster, api: FakeApi, checked: bool, stays: timedelta
) -> None:
    """However old it is: an Ingress that is deleted and made again is away for a moment only."""
    old = claim_body("a.dev", "one", checked=CHECKED if checked else None)
    old["metadata"]["creationTimestamp"] = OLD
    api.add(CONFIGMAPS, v.NAMESPACE, old)
    assert released(cluster, after=stays) == 0
    assert released(cluster, start=stays, after=stays + 61 * MINUTE) == 1


def test_one_look_that_finds_it_named_begins_the_grace_anew(cluster: Cluster) -> None:
    taken(cluster, "a.dev", "one", checked=True)
    assert released(cluster, after=23 * HOUR) == 0
    assert tidy(cluster, ingress("one", "a.dev"), after=23 * HOUR + 5 * MINUTE)[1] == {"claims unnamed": 0}
    assert taken(cluster, "a.dev", "one").unnamed_since is None
    assert released(cluster, start=24 * HOUR, after=47 * HOUR) == 0
    assert released(cluster, start=48 * HOUR, after=49 * HOUR) == 1


def test_time_in_which_no_sweep_looked_counts_for_nothing(cluster: Cluster) -> None:
    """Else two moments a day apart, in each of which an Ingress is made anew, would lose the host."""
    taken(cluster, "a.dev", "one", checked=True)
    tidy(cluster, after=timedelta(0))
    assert tidy(cluster, after=30 * HOUR)[1] == {"claims unnamed": 0}
    assert holder(cluster, "a.dev") == "one"


def test_passes_that_find_it_unnamed_write_once_an_hour(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one", checked=True)
    api.requests.clear()
    for number in range(24):
        tidy(cluster, after=number * 5 * MINUTE)
    assert sum(request.method == "PUT" for request in api.requests) == 2


@pytest.mark.parametrize(("grace", "hours"), [("1h", 1), ("2d", 48)])
def test_the_operator_says_how_long_the_grace_is(cluster: Cluster, grace: str, hours: int) -> None:
    taken(cluster, "a.dev", "one", checked=True)
    options = convert({"claimGrace": grace}, type=Options)
    looks = [tidy(cluster, after=hour * HOUR, options=options)[1] for hour in range(50)]
    assert [hour for hour, counts in enumerate(looks) if counts.get("claims released")] == [hours]


def test_a_transfer_gives_time_to_make_the_ingress(cluster: Cluster, api: FakeApi) -> None:
    former = claim_body("a.dev", "one")
    former["metadata"]["creationTimestamp"] = OLD
    api.add(CONFIGMAPS, v.NAMESPACE, former)
    assert claims.transfer(cluster, "a.dev", "two", now=utc_now()) == "one"
    assert released(cluster, ingress("one", "a.dev"), after=23 * HOUR) == 0
    assert released(cluster, ingress("one", "a.dev"), start=24 * HOUR, after=LAPSED) == 1


def test_a_transfer_by_hand_does_not_inherit_how_long_the_host_was_unnamed(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one", checked=True)
    released(cluster, after=23 * HOUR)
    stored = api.stored(CONFIGMAPS, v.NAMESPACE, names.claim("a.dev"))
    assert stored is not None
    assert v.UNNAMED_SINCE in stored["metadata"]["annotations"]
    stored["metadata"]["annotations"][v.CHECKED] = (utc_now() + 23 * HOUR).isoformat()
    api.add(CONFIGMAPS, v.NAMESPACE, stored | {"data": {"host": "a.dev", "namespace": "two"}})
    assert released(cluster, start=24 * HOUR, after=46 * HOUR) == 0


@pytest.mark.parametrize("word", ["", "yesterday", "2020-01-01T00:00:00Z"])
def test_a_mark_that_says_nothing_of_use_is_none(cluster: Cluster, api: FakeApi, word: str) -> None:
    body = claim_body("a.dev", "one", checked=CHECKED)
    body["metadata"]["annotations"] |= {v.UNNAMED_SINCE: word, v.UNNAMED_SEEN: word}
    api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert released(cluster, after=23 * HOUR) == 0


# What is lost, and who is told.


def certificate(namespace: str, **changes: Any) -> Record:
    """A record with a certificate from a CA for the samples' hosts."""
    fields = {"not_after": utc_now() + timedelta(days=60)} | changes
    return replace(record(Phase.ISSUED), namespace=namespace, issued=issued(**fields))


def lost(
    cluster: Cluster, *records: Record, after: timedelta = LAPSED, written: bool = True
) -> list[tuple[str, ...]]:
    told = []

    def forfeit(right: LostRight) -> bool:
        held = claims.claim_of(cluster, right.host)
        assert held is not None, "the record is told before the claim goes"
        told.append((right.record.namespace, right.host, right.cause.name, held.namespace))
        return written

    for hour in range(after // HOUR + 2):
        now, until = utc_now() + min(hour * HOUR, after), time.monotonic() + 30
        known = at_sweep.Records(records, forfeit=forfeit)
        at_sweep.tidy(cluster, Holders(Options(), Namers(), now), known, read_claims(cluster), until=until)
    return told


def test_a_right_that_lapses_is_told_before_the_claim_goes(cluster: Cluster) -> None:
    taken(cluster, HOSTS[0], "shop", checked=True)
    taken(cluster, "other.dev", "shop", checked=True)
    assert lost(cluster, certificate("shop"), certificate("elsewhere")) == [("shop", HOSTS[0], "LAPSED", "shop")]
    assert holder(cluster, HOSTS[0]) is None


def test_a_right_stays_as_long_as_its_loss_cannot_be_written_down(cluster: Cluster) -> None:
    taken(cluster, HOSTS[0], "shop", checked=True)
    assert set(lost(cluster, certificate("shop"), written=False)) == {("shop", HOSTS[0], "LAPSED", "shop")}
    assert holder(cluster, HOSTS[0]) == "shop"


def test_a_right_that_is_transferred_is_told_once(cluster: Cluster) -> None:
    taken(cluster, HOSTS[0], "shop", checked=True)
    claims.transfer(cluster, HOSTS[0], "two", now=utc_now())
    held, right = certificate("shop"), ("shop", HOSTS[0], "TRANSFERRED", "two")
    assert lost(cluster, held, after=timedelta(0)) == [right, right]
    assert lost(cluster, certificate("shop", forfeited=(HOSTS[0],)), after=timedelta(0)) == []
    claims.transfer(cluster, HOSTS[0], "three", now=utc_now())
    assert taken(cluster, HOSTS[0], "one").former == "two"


def test_a_host_that_is_given_to_whom_it_belongs_is_not_lost(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, HOSTS[0], "shop", checked=True)
    claims.transfer(cluster, HOSTS[0], "shop", now=utc_now())
    assert lost(cluster, certificate("shop"), after=timedelta(0)) == []
    by_hand = api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOSTS[0]))
    assert by_hand is not None
    by_hand["metadata"]["annotations"][v.FORMER] = "shop"
    api.add(CONFIGMAPS, v.NAMESPACE, by_hand)
    assert lost(cluster, certificate("shop"), after=timedelta(0)) == []


@pytest.mark.parametrize(
    "held",
    [
        {"directory": ""},
        {"hosts": ("other.dev",)},
        {"not_after": datetime(2026, 1, 3, tzinfo=UTC)},
        {"forfeited": (HOSTS[0],)},
    ],
    ids=["its owner's", "another host", "ended", "written down already"],
)
def test_what_is_no_loss(cluster: Cluster, held: dict[str, Any]) -> None:
    taken(cluster, HOSTS[0], "shop", checked=True)
    assert lost(cluster, certificate("shop", **held)) == []
    assert holder(cluster, HOSTS[0]) is None


def test_a_claim_that_was_never_checked_is_no_right(cluster: Cluster) -> None:
    taken(cluster, HOSTS[0], "shop")
    assert lost(cluster, certificate("shop")) == []
    assert holder(cluster, HOSTS[0]) is None


# Certificates without claims.


def with_certificates(cluster: Cluster, *ingresses: Json, records: tuple[Record, ...]) -> dict[str, int]:
    return tidy(cluster, *ingresses, after=MINUTE, records=records)[1]


def test_a_certificate_whose_claim_is_gone_gets_it_back(cluster: Cluster, api: FakeApi) -> None:
    """Deleted by mistake, or never made under another policy: a newcomer must not find the host free."""
    held = certificate("shop", hosts=(HOSTS[0],))
    named = ingress("shop", HOSTS[0], creationTimestamp=OLD)
    assert with_certificates(cluster, named, records=(held,))["claims made good"] == 1
    found = taken(cluster, HOSTS[0], "newcomer")
    assert (found.namespace, found.checked is not None) == ("shop", True)
    api.requests.clear()
    with_certificates(cluster, named, records=(held,))
    assert {request.method for request in api.requests} == {"GET"}


def test_a_claim_that_cannot_be_made_again_keeps_nothing_else_from_its_end(cluster: Cluster, api: FakeApi) -> None:
    """A quota that is full, or a policy that refuses one of them."""
    api.hooks["configmaps"] = lambda write: denied("no") if write.name == names.claim(HOSTS[0]) else None
    held = [certificate("shop", hosts=(host,)) for host in HOSTS[:2]]
    named = ingress("shop", *HOSTS[:2], creationTimestamp=OLD)
    counts = with_certificates(cluster, named, records=tuple(held))
    assert (counts["claims made good"], counts["trouble"]) == (1, 1)
    assert holder(cluster, HOSTS[1]) == "shop"


@pytest.mark.parametrize(
    ("held", "ingresses"),
    [
        (certificate("shop", hosts=(HOSTS[0],)), []),
        (certificate("shop", hosts=(HOSTS[0],)), [ingress("other", HOSTS[0])]),
        (certificate("shop", hosts=(HOSTS[0],), directory=""), [ingress("shop", HOSTS[0])]),
        (certificate("shop", hosts=(HOSTS[0],), forfeited=(HOSTS[0],)), [ingress("shop", HOSTS[0])]),
        (certificate("shop", hosts=(HOSTS[0],), not_after=CHECKED), [ingress("shop", HOSTS[0])]),
        (replace(certificate("shop", hosts=(HOSTS[0],)), phase=Phase.RETIRED), [ingress("shop", HOSTS[0])]),
        (
            certificate("shop", hosts=(HOSTS[0],)),
            [ingress("shop", HOSTS[0]), ingress("other", HOSTS[0], creationTimestamp=OLD)],
        ),
    ],
    ids=["not named", "another's", "its owner's", "forfeited", "ended", "retired", "somebody was there"],
)
def test_a_certificate_that_gives_no_claim(cluster: Cluster, held: Record, ingresses: list[Json]) -> None:
    assert with_certificates(cluster, *ingresses, records=(held,)).get("claims made good", 0) == 0
    assert holder(cluster, HOSTS[0]) is None


def test_a_claim_that_overlaps_and_comes_in_between_keeps_the_mark_away(cluster: Cluster, api: FakeApi) -> None:
    made_meanwhile = claim_body("*.certjob.dev", "two")

    def meanwhile(attempt: Attempt) -> Response | None:
        if attempt.method == "POST" and api.stored(CONFIGMAPS, v.NAMESPACE, names.claim("*.certjob.dev")) is None:
            api.hooks.pop("configmaps")
            api.add(CONFIGMAPS, v.NAMESPACE, made_meanwhile)
        return None

    api.hooks["configmaps"] = meanwhile
    held = certificate("shop", hosts=(HOSTS[0],))
    named = ingress("shop", HOSTS[0], creationTimestamp=OLD)
    assert with_certificates(cluster, named, records=(held,))["claims made good"] == 0
    assert taken(cluster, HOSTS[0], "shop").checked is None


# A namespace that is made anew.


def made(api: FakeApi, namespace: str, when: datetime) -> None:
    metadata = {"name": namespace, "creationTimestamp": when.isoformat(timespec="seconds")}
    if api.stored(NAMESPACES, None, namespace) is not None:
        api.remove(NAMESPACES, None, namespace)
    api.add(NAMESPACES, None, {"metadata": metadata})


def test_a_namespace_made_anew_does_not_inherit_what_the_one_before_had(cluster: Cluster, api: FakeApi) -> None:
    """It may be somebody else's. The host is nobody's until the grace is over, as if it were not named."""
    taken(cluster, "a.dev", "one", checked=True)
    made(api, "one", CHECKED - HOUR)
    named = ingress("one", "a.dev")
    assert tidy(cluster, named)[0].may_have("one", "a.dev")
    made(api, "one", utc_now() + HOUR)
    api.add(INGRESSES, "one", named)
    assert not tidy(cluster, named, after=2 * HOUR)[0].may_have("one", "a.dev")
    assert released(cluster, named, start=3 * HOUR, after=25 * HOUR) == 0
    assert released(cluster, named, start=26 * HOUR, after=27 * HOUR) == 1
    claims.transfer(cluster, "a.dev", "one", now=utc_now() + 2 * HOUR)
    assert tidy(cluster, named, after=3 * HOUR)[0].may_have("one", "a.dev")


def test_what_a_namespace_made_anew_got_a_certificate_for_already_is_its_own(cluster: Cluster, api: FakeApi) -> None:
    """From 0.1.0, which left it a claim that no pass had found unnamed meanwhile."""
    now = utc_now()
    taken(cluster, "a.dev", "one", checked=True)
    made(api, "one", now + HOUR)
    named = ingress("one", "a.dev")
    api.add(INGRESSES, "one", named)
    theirs = certificate("one", hosts=("a.dev",), at=now)
    assert not tidy(cluster, named, records=(theirs,), after=3 * HOUR)[0].may_have("one", "a.dev")
    own = certificate("one", hosts=("a.dev",), at=now + 2 * HOUR)
    assert tidy(cluster, named, records=(own,), after=3 * HOUR)[1]["claims made good"] == 1
    for hour in range(3, 30):
        holders, counts = tidy(cluster, named, records=(own,), after=hour * HOUR)
        assert (holders.may_have("one", "a.dev"), counts.get("claims released", 0)) == (True, 0)


def test_a_namespace_made_anew_does_not_inherit_a_wildcard_above_its_host(cluster: Cluster, api: FakeApi) -> None:
    wildcard = taken(cluster, "*.x.dev", "one", checked=True)
    mine = taken(cluster, "a.x.dev", "one")
    assert claims.rivals(cluster, mine, made=CHECKED) == []
    later = utc_now() + HOUR
    assert claims.rivals(cluster, mine, made=later) == [wildcard]
    assert not judge_claim(mine, [wildcard], Namers(), made=later).stands
    made(api, "one", later)
    assert not tidy(cluster, after=2 * HOUR)[0].may_have("one", "b.x.dev")


def test_clocks_of_api_servers_that_differ_by_seconds_take_nothing_away(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one")
    made(api, "one", utc_now() + timedelta(seconds=20))
    assert released(cluster, ingress("one", "a.dev")) == 0


def test_a_claim_of_a_certificate_without_an_ingress_stays(cluster: Cluster) -> None:
    taken(cluster, "a.certjob.dev", "one")
    asked = source(kind=SourceKind.SECRET, hosts=("a.certjob.dev",), settings=SETTINGS)
    for phase, stays in ((Phase.ISSUED, True), (Phase.RETIRED, False)):
        wanted = record(phase, namespace="one", sources=(asked,))
        for now in (utc_now(), utc_now() + LATER):
            holders, until = Holders(Options(), Namers(), now), time.monotonic() + 30
            at_sweep.tidy(cluster, holders, at_sweep.Records([wanted]), read_claims(cluster), until=until)
        assert (holder(cluster, "a.certjob.dev") == "one") is stays


def test_an_ingress_made_while_the_pass_was_under_way_keeps_its_claim(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one")
    api.add(INGRESSES, "one", ingress("one", "a.dev"))
    assert released(cluster) == 0


def test_an_unchecked_claim_yields_to_an_ingress_that_shows_it_is_older(cluster: Cluster) -> None:
    taken(cluster, "a.dev", "one")
    older = ingress("two", "a.dev", creationTimestamp=OLD)
    older["metadata"]["generation"] = 1
    edited = ingress("two", "a.dev", creationTimestamp=OLD)
    edited["metadata"]["generation"] = 2
    assert released(cluster, ingress("one", "a.dev"), edited, after=timedelta(0)) == 0
    assert released(cluster, ingress("one", "a.dev"), older, after=timedelta(0)) == 1


def test_a_checked_claim_yields_to_nobody(cluster: Cluster) -> None:
    taken(cluster, "a.x.dev", "one", checked=True)
    taken(cluster, "*.x.dev", "two", checked=True)
    older = ingress("two", "a.x.dev", "*.x.dev", creationTimestamp=OLD)
    older["metadata"]["generation"] = 1
    assert released(cluster, ingress("one", "a.x.dev"), older) == 0


def test_an_unchecked_claim_yields_to_a_checked_one_that_overlaps(cluster: Cluster) -> None:
    taken(cluster, "a.x.dev", "one")
    taken(cluster, "*.x.dev", "two", checked=True)
    taken(cluster, "b.x.dev", "two")
    assert released(cluster, ingress("one", "a.x.dev"), ingress("two", "*.x.dev", "b.x.dev"), after=timedelta(0)) == 1
    assert holder(cluster, "a.x.dev") is None


def test_of_two_unchecked_ones_the_sweep_takes_none(cluster: Cluster) -> None:
    taken(cluster, "a.x.dev", "one")
    taken(cluster, "*.x.dev", "two")
    assert released(cluster, ingress("one", "a.x.dev"), ingress("two", "*.x.dev")) == 0


def test_a_claim_that_changed_meanwhile_stays(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one")

    def changed_just_before(attempt: Attempt) -> Response | None:
        if attempt.method == "DELETE" and attempt.old is not None and attempt.old["data"]["namespace"] == "one":
            return status(409, "Conflict", "the resourceVersion is another")
        return None

    api.hooks["configmaps"] = changed_just_before
    assert released(cluster) == 0


def test_exactly_the_claim_that_was_read_is_deleted(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one")
    released(cluster, after=timedelta(0))
    held = taken(cluster, "a.dev", "one")
    released(cluster, start=LATER)
    bodies = [request.body for request in api.requests if request.method == "DELETE" and request.body]
    assert [body["preconditions"] for body in bodies] == [{"uid": held.uid, "resourceVersion": held.resource_version}]


def test_an_expired_list_is_read_anew(cluster: Cluster, api: FakeApi) -> None:
    taken(cluster, "a.dev", "one")
    api.fail("GET", "configmaps", status(410, "Expired", "too old"))
    assert released(cluster, after=timedelta(0)) == 0
    assert released(cluster, start=MINUTE, after=MINUTE + LATER) == 1


def test_a_pass_without_time_gives_nothing_up(cluster: Cluster) -> None:
    taken(cluster, "a.dev", "one")
    holders, until = Holders(Options(), Namers(), utc_now() + LATER), time.monotonic()
    counts = at_sweep.tidy(cluster, holders, at_sweep.Records(), read_claims(cluster), until=until)
    assert counts == {"claims put off": 1}


@pytest.mark.parametrize("policy", [HostPolicy.OPEN, HostPolicy.ALLOW_LIST])
def test_other_policies_leave_claims_alone(cluster: Cluster, api: FakeApi, policy: HostPolicy) -> None:
    taken(cluster, "a.dev", "one")
    stored = read_claims(cluster)
    api.requests.clear()
    rules = {"allowedHosts": [{"namespaces": ["*"], "suffixes": ["dev"]}]} if policy is HostPolicy.ALLOW_LIST else {}
    options = convert({"hostPolicy": str(policy), **rules}, type=Options)
    holders = Holders(options, Namers(), utc_now() + LATER)
    at_sweep.tidy(cluster, holders, at_sweep.Records(), stored, until=time.monotonic() + 30)
    assert api.requests == []


def test_who_may_have_a_host_by_what_a_pass_has_read(cluster: Cluster) -> None:
    taken(cluster, "a.x.dev", "one")
    taken(cluster, "*.y.dev", "one", checked=True)
    old = ingress("one", "served.dev", creationTimestamp=OLD)
    holders, _ = tidy(cluster, ingress("one", "a.x.dev", "*.y.dev"), old)
    assert holders.may_have("one", "a.x.dev")
    assert holders.may_have("two", "free.dev")
    for host in ("a.x.dev", "*.x.dev", "b.y.dev", "*.y.dev", "served.dev"):
        assert not holders.may_have("two", host), host


@pytest.mark.parametrize(("word", "expected"), [("hostClaimed", True), ("hostNotAllowed", True), ("caa", False)])
def test_only_who_failed_for_the_want_of_a_host_can_have_it(cluster: Cluster, word: str, expected: bool) -> None:
    wanted = record(Phase.FAILED, retry=Retry(replace(PROBLEM, type=word), failures=1, intent_hash="0"))
    assert tidy(cluster)[0].free_again(wanted) is expected
    assert not tidy(cluster)[0].free_again(record(Phase.FAILED))
    taken(cluster, wanted.intent.hosts[-1], "elsewhere")
    assert not tidy(cluster, ingress("elsewhere", wanted.intent.hosts[-1]))[0].free_again(wanted)


def test_what_was_not_read_to_the_end_gives_nobody_a_host(cluster: Cluster, api: FakeApi) -> None:
    body = claims.claim_body("a.dev", "one")
    del body["metadata"]["labels"][v.CLAIM_PARENT]  # what is above or below it is known once it has the label
    api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert not tidy(cluster)[0].may_have("one", "free.dev")
    assert tidy(cluster)[0].may_have("one", "free.dev")


def test_claims_are_read_in_another_order_each_time(cluster: Cluster) -> None:
    """Else those that there is no time for would be the same in each pass."""
    hosts = [f"{n}.x.dev" for n in range(8)]
    for host in hosts:
        taken(cluster, host, "one")
    orders = [[claim.host for claim in read_claims(cluster)] for _ in range(60)]
    assert {order[0] for order in orders} > set(hosts[:1])
    assert all(sorted(order) == hosts for order in orders)


def test_a_transfer_of_a_host_that_nobody_has(cluster: Cluster) -> None:
    assert claims.transfer(cluster, "a.dev", "two", now=CHECKED) is None
    assert (taken(cluster, "a.dev", "one").namespace, taken(cluster, "a.dev", "one").checked) == ("two", CHECKED)


@pytest.mark.parametrize("fault", [("PUT", "Conflict"), ("PUT", "NotFound")])
def test_a_transfer_goes_on_when_the_claim_changes(cluster: Cluster, api: FakeApi, fault: tuple[str, str]) -> None:
    taken(cluster, "a.dev", "one")
    api.fail(fault[0], "/configmaps/claim-", status(404 if fault[1] == "NotFound" else 409, fault[1]))
    assert claims.transfer(cluster, "a.dev", "two", now=CHECKED) == "one"
    assert holder(cluster, "a.dev") == "two"
