"""The arrows of the record's life, all of them and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job.record import intents, ledger_entries
from issuer_job.record import transitions as t
from issuer_job.record.phases import ARROWS, SWEEP_INTERVAL, Bearing, LaunchReason
from issuer_job.record.record import (
    HISTORY_LENGTH,
    Counted,
    LedgerEntry,
    Phase,
    Problem,
    Record,
    Renewal,
    Retry,
    Settings,
    Source,
    SourceKind,
)
from tests.worlds.samples import HOSTS, LATER, NOW, PROBLEM, attempt, issued, record, source

P = Phase
ACTIVE = "Launched Claimed Ordering Authorizing Finalizing Installing"

# For each phase, from where it may be reached. Any active phase may be claimed again: its pod was lost.
REACHED_FROM = {
    P.WANTED: "",
    P.LAUNCHED: f"Wanted {ACTIVE} Unconfirmed Issued Waiting Failed Orphaned Retired",
    P.CLAIMED: ACTIVE,
    P.UNCONFIRMED: "Claimed",
    P.ORDERING: "Claimed Ordering Authorizing Finalizing",
    P.AUTHORIZING: "Ordering",
    P.FINALIZING: "Authorizing",
    P.INSTALLING: "Claimed Finalizing Installing",
    P.ISSUED: "Claimed Installing Issued Waiting Failed Orphaned",
    P.WAITING: f"Wanted {ACTIVE} Unconfirmed Issued Waiting Failed Orphaned Retired",
    P.FAILED: "Issued Claimed Ordering Authorizing Finalizing Installing Unconfirmed Orphaned Retired",
    P.ORPHANED: f"Wanted {ACTIVE} Issued Waiting Failed",
    P.RETIRED: "Unconfirmed Orphaned",
}

MOVES: dict[Phase, Callable[[Record], Record]] = {
    P.LAUNCHED: lambda r: t.launched(r, now=LATER, reason=LaunchReason.RETRY_DUE),
    P.CLAIMED: lambda r: t.claimed(r, holder="pod-2", now=LATER),
    P.UNCONFIRMED: lambda r: t.unconfirmed(r, now=LATER),
    P.ORDERING: lambda r: t.ordering(r, directory="d", account="a", now=LATER),
    P.AUTHORIZING: lambda r: t.authorizing(r, order_url="u", expires=None, now=LATER),
    P.FINALIZING: lambda r: t.finalizing(r, pending_key="k", now=LATER),
    P.INSTALLING: lambda r: t.installing(r, secret_uid="u", secret_version="1", now=LATER),
    P.ISSUED: lambda r: t.issued(r, issued=issued(), now=LATER),
    P.WAITING: lambda r: t.waiting(r, problem=PROBLEM, now=LATER, wait=timedelta(minutes=1)),
    P.FAILED: lambda r: t.failed(r, problem=PROBLEM, now=LATER),
    P.ORPHANED: lambda r: t.orphaned(r, now=LATER),
    P.RETIRED: lambda r: t.retired(r, now=LATER),
}


@pytest.mark.parametrize("target", Phase)
@pytest.mark.parametrize("start", Phase)
def test_every_pair_of_phases(start: Phase, target: Phase) -> None:
    allowed = start in REACHED_FROM[target].split()
    assert (target in ARROWS[start]) == allowed
    if target not in MOVES:
        return
    if not allowed:
        with pytest.raises(t.IllegalTransition):
            MOVES[target](record(start))
        return
    moved = MOVES[target](record(start))
    assert moved.phase is target
    assert moved.since == (NOW if start is target else LATER)


def test_a_new_epoch_is_at_least_the_current_second_and_always_higher() -> None:
    second = int(LATER.timestamp())
    assert t.launched(record(P.WANTED), now=LATER, reason=LaunchReason.RETRY_DUE).epoch == second
    assert (
        t.launched(record(attempt=attempt(epoch=second + 50)), now=LATER, reason=LaunchReason.RETRY_DUE).epoch
        == second + 51
    )
    assert (
        t.launched(record(attempt=attempt(epoch=second)), now=LATER, reason=LaunchReason.RETRY_DUE).epoch
        == second + 1
    )


def test_a_new_epoch_inherits_order_and_key_but_nothing_of_the_pod() -> None:
    old = attempt()
    new = t.attempt_of(t.launched(record(P.AUTHORIZING), now=LATER, reason=LaunchReason.CRASHED))
    assert (new.order_url, new.ordered, new.pending_key) == (old.order_url, True, old.pending_key)
    assert (new.directory, new.account, new.order_expires) == (old.directory, old.account, old.order_expires)
    assert (new.holder, new.secret_uid, new.secret_version, new.tries) == ("", "", "", 1)
    assert new.orders_dropped == 0
    assert new.launched_at == LATER


@pytest.mark.parametrize("phase", [P.WAITING, P.FAILED, P.ORPHANED])
def test_an_attempt_that_could_say_how_it_ended_has_no_order_to_look_for(phase: Phase) -> None:
    """Also one that says so of an attempt before it: an earlier certjob did not take it back."""
    new = t.attempt_of(t.launched(record(phase), now=LATER, reason=LaunchReason.RETRY_DUE))
    assert (new.ordered, new.order_url) == (False, attempt().order_url)


@pytest.mark.parametrize(
    "changed",
    [
        source(hosts=HOSTS[:1]),
        source(settings=Settings(issuer="other")),
        source(settings=Settings(issuer="le", profile="p")),
        source(settings=Settings(issuer="le", key_algorithm="rsa-2048")),
    ],
)
def test_another_intent_forgets_order_and_key_and_raises_the_generation(changed: object) -> None:
    moved = intents.intended(record(P.AUTHORIZING), sources=(changed,))  # type: ignore[arg-type]
    new = t.attempt_of(moved)
    assert moved.generation == 2
    assert (new.ordered, new.order_url, new.order_expires, new.pending_key) == (False, "", None, "")
    assert t.attempt_of(t.launched(moved, now=LATER, reason=LaunchReason.RETRY_DUE)).order_url == ""


def test_an_equal_intent_keeps_order_and_generation() -> None:
    moved = intents.intended(record(P.AUTHORIZING), sources=(source(), source("second")))
    assert moved.generation == 1
    assert t.attempt_of(moved).order_url
    assert len(moved.sources) == 2


@pytest.mark.parametrize(("directory", "account"), [("other", "https://ca/acct/1"), ("https://ca/dir", "other")])
def test_an_order_of_another_account_or_directory_is_forgotten(directory: str, account: str) -> None:
    new = t.attempt_of(t.ordering(record(P.CLAIMED), directory=directory, account=account, now=LATER))
    assert (new.order_url, new.order_expires) == ("", None)
    assert new.ordered


def test_an_order_of_the_same_account_is_kept() -> None:
    moved = t.ordering(record(P.CLAIMED), directory="https://ca/dir", account="https://ca/acct/1", now=LATER)
    assert t.attempt_of(moved).order_url == "https://ca/order/1"


def test_union_and_the_oldest_decides() -> None:
    old = source("old", ("b.dev",), settings=Settings(issuer="one"), created=NOW)
    young = source("young", ("a.dev", "b.dev"), settings=Settings(issuer="two"), created=LATER)
    unborn = source("unborn", ("c.dev",), settings=Settings(issuer="three"))
    for order in ((old, young, unborn), (unborn, young, old)):
        intent = intents.union(order)
        assert intent.hosts == ("a.dev", "b.dev", "c.dev")
        assert intent.settings.issuer == "one"
    assert intents.union((unborn,)).settings.issuer == "three"


def test_a_source_that_comes_again_takes_its_own_place() -> None:
    first, second = source("a", uid="u", created=NOW), source("b")
    again = intents.joined((first, second), source("a", hosts=("x.dev",)))
    assert again == (replace(first, hosts=("x.dev",)), second)
    assert intents.joined((first,), second) == (first, second)
    generated = source("", generate_name="web-")
    assert intents.joined((first,), generated) == (first, generated)
    assert intents.joined((generated,), generated) == (generated,)


def test_relaunched_is_the_same_epoch_once_more() -> None:
    moved = t.relaunched(record(), now=LATER)
    assert moved.epoch == record().epoch
    assert (t.attempt_of(moved).tries, t.attempt_of(moved).launched_at) == (2, LATER)


def test_a_claim_notes_pod_and_generation() -> None:
    moved = t.claimed(record(generation=4), holder="pod-2", now=LATER)
    assert (t.attempt_of(moved).holder, t.attempt_of(moved).generation) == ("pod-2", 4)


def test_a_dropped_order_is_counted() -> None:
    moved = t.order_dropped(record(P.FINALIZING), now=LATER, reason="theirs")
    new = t.attempt_of(moved)
    assert (moved.phase, new.order_url, new.orders_dropped) == (P.ORDERING, "", 2)
    assert new.pending_key


def test_issued_clears_what_was_in_the_way() -> None:
    waiting = t.waiting(record(P.ORDERING), problem=PROBLEM, now=NOW, wait=timedelta(minutes=1))
    busy = replace(waiting, phase=P.INSTALLING)
    moved = t.issued(busy, issued=issued(), now=LATER)
    new = t.attempt_of(moved)
    assert (moved.retry, moved.issued) == (None, issued())
    assert (new.ordered, new.order_url, new.pending_key, new.orders_dropped) == (False, "", "", 0)


def test_failures_count_in_a_row_for_one_intent() -> None:
    first = t.waiting(record(P.ORDERING), problem=PROBLEM, now=NOW, wait=timedelta(minutes=1))
    assert first.retry is not None
    assert (first.retry.failures, first.retry.not_before) == (1, NOW + timedelta(minutes=1))
    second = t.failed(replace(first, phase=P.ORDERING), problem=PROBLEM, now=NOW)
    assert second.retry is not None
    assert (second.retry.failures, second.retry.not_before) == (2, None)


def test_another_intent_starts_to_count_anew_but_flapping_does_not_help() -> None:
    def fail(r: Record, hosts: tuple[str, ...]) -> Record:
        r = replace(intents.intended(r, sources=(source(hosts=hosts),)), phase=P.ORDERING)
        return t.waiting(r, problem=PROBLEM, now=NOW, wait=timedelta(minutes=1))

    counts = []
    r = record(P.ORDERING)
    for hosts in (("a.dev",), ("a.dev",), ("b.dev",), ("a.dev",), ("b.dev",), ("c.dev",)):
        r = fail(r, hosts)
        assert r.retry is not None
        counts.append(r.retry.failures)
    assert counts == [1, 2, 1, 2, 3, 1]
    for number in range(9):
        r = fail(r, (f"h{number}.dev",))
    assert r.retry is not None
    assert len(r.retry.hashes) == 1 + t.FAILED_HASHES


def test_history_is_bounded() -> None:
    r = record(P.ORDERING)
    for _ in range(HISTORY_LENGTH + 5):
        r = t.order_dropped(r, now=LATER, reason="y" * 999)
    assert len(r.history) == HISTORY_LENGTH
    assert len(r.history[-1].detail) == 300
    assert r.history[-1].epoch == r.epoch


def test_without_an_attempt_there_is_nothing_to_claim() -> None:
    with pytest.raises(t.IllegalTransition, match="no attempt"):
        t.attempt_of(record(P.WANTED))


def test_a_crash_is_a_new_epoch_that_is_remembered_until_something_is_issued() -> None:
    once = t.launched(record(P.ORDERING), now=LATER, reason=LaunchReason.CRASHED)
    assert (once.phase, t.attempt_of(once).crashes, t.attempt_of(once).tries) == (P.LAUNCHED, 1, 1)
    twice = t.launched(once, now=LATER, reason=LaunchReason.CRASHED)
    assert (t.attempt_of(twice).crashes, twice.epoch) == (2, once.epoch + 1)
    assert t.attempt_of(t.launched(twice, now=LATER, reason=LaunchReason.RETRY_DUE)).crashes == 2
    done = t.issued(replace(twice, phase=P.INSTALLING), issued=issued(), now=LATER)
    assert t.attempt_of(done).crashes == 0


def test_what_a_launch_was_for_is_remembered_until_something_is_issued() -> None:
    due = t.launched(record(P.ISSUED), now=LATER, reason=LaunchReason.RENEWAL_DUE)
    assert t.attempt_of(due).renews
    for why in (why for why in LaunchReason if why.bearing is not Bearing.REPLACES):
        assert not t.attempt_of(t.launched(record(P.ISSUED), now=LATER, reason=why)).renews
        assert t.attempt_of(t.launched(due, now=LATER, reason=why)).renews
    done = t.issued(replace(due, phase=P.INSTALLING), issued=issued(), now=LATER)
    assert not t.attempt_of(done).renews
    assert not t.attempt_of(t.launched(done, now=LATER, reason=LaunchReason.CRASHED)).renews


def test_the_interval_is_the_last_sweeps() -> None:
    first = t.launched(record(P.WANTED), now=LATER, reason=LaunchReason.NEW)
    assert t.attempt_of(first).interval == SWEEP_INTERVAL
    hour = t.launched(first, now=LATER, reason=LaunchReason.CRASHED, interval=timedelta(hours=1))
    again = t.launched(hour, now=LATER, reason=LaunchReason.EDITED)
    assert [t.attempt_of(r).interval for r in (hour, again)] == [timedelta(hours=1)] * 2


def test_what_is_put_right_starts_anew() -> None:
    failed = t.waiting(record(P.ORDERING), problem=replace(PROBLEM, step="newOrder"), now=NOW, wait=timedelta(0))
    kept = {why for why in LaunchReason if t.launched(failed, now=LATER, reason=why).retry is not None}
    assert set(LaunchReason) - kept == {
        LaunchReason.ISSUER_EDITED,
        LaunchReason.RETRY_ASKED,
        LaunchReason.CORRECTED,
    }


def test_a_certificate_put_there_by_hand_is_adopted_without_an_attempt() -> None:
    before = record(P.ISSUED, issued=issued())
    theirs = issued(serial="ef", directory="")
    moved = t.adopted(before, issued=theirs, now=LATER)
    assert (moved.phase, moved.since, moved.issued, moved.attempt) == (P.ISSUED, NOW, theirs, before.attempt)
    assert (moved.history[-1].event, "serial ef" in moved.history[-1].detail) == ("adopted", True)
    assert moved.ledger == ()


def test_what_the_ca_suggests_is_kept_with_the_certificate() -> None:
    renewal = Renewal(check_after=LATER, at=LATER)
    before = record(P.ISSUED, issued=issued())
    moved = t.renewal_suggested(before, renewal=renewal, now=LATER)
    assert moved == replace(before, issued=issued(renewal=renewal))
    with pytest.raises(t.IllegalTransition, match="no certificate"):
        t.renewal_suggested(record(P.WAITING), renewal=renewal, now=LATER)


def test_held_back_is_no_failure_and_nothing_shortens_it() -> None:
    full = Problem(type=t.HELD_BACK, detail="full", step="limits")
    first = t.held_back(record(P.WANTED), problem=full, now=NOW, until=LATER, issuer="v1")
    assert first.phase is P.WAITING
    assert first.retry == Retry(
        problem=full, failures=0, intent_hash=first.intent.hash, not_before=LATER, asked=True, issuer="v1"
    )
    failed = t.waiting(record(P.ORDERING), problem=PROBLEM, now=NOW, wait=timedelta(minutes=1))
    again = t.held_back(failed, problem=full, now=NOW, until=LATER)
    assert again.retry is not None
    assert again.retry.failures == 1  # those before still count


def two_sources() -> tuple[Source, Source]:
    return source(), source("second", ("c.certjob.dev",))


def confirmed(now: tuple[Source, ...], *, live: tuple[Source, ...], known: tuple[Source, ...]) -> Record:
    """The record, whose sources are those of now, after a look at those that were known."""
    made = record(P.CLAIMED, sources=now, attempt=attempt())
    return t.confirmed(made, NOW, sources=live, known=known)


def test_what_is_live_takes_the_place_of_what_was_known() -> None:
    one, two = two_sources()
    live = (replace(one, hosts=("x.certjob.dev",), uid="u"),)
    after = confirmed((one, two), live=live, known=(one, two))
    assert (after.sources, after.intent.hosts, after.generation) == (live, ("x.certjob.dev",), 2)
    assert after.attempt is not None
    assert after.attempt.generation == 2


@pytest.mark.parametrize("kind", list(SourceKind))
def test_who_joined_or_changed_since_the_look_is_heard(kind: SourceKind) -> None:
    """A Secret that asks for itself, too: it cannot be listed, so nobody would find it again."""
    one, two = two_sources()
    two = replace(two, kind=kind)
    live = (replace(one, hosts=("x.certjob.dev",), uid="u"),)
    joined = confirmed((one, two), live=live, known=(one,))
    assert (joined.sources, joined.intent.hosts) == ((*live, two), ("c.certjob.dev", "x.certjob.dev"))
    newer = replace(one, hosts=("y.certjob.dev",))
    changed = confirmed((newer,), live=live, known=(one,))
    assert changed.sources == (replace(newer, uid="u"),)


def test_one_that_a_sweep_has_marked_since_the_look_has_not_joined() -> None:
    one, two = two_sources()
    assert confirmed((one, replace(two, gone_since=NOW)), live=(one,), known=(one, two)).sources == (one,)


def test_sources_are_marked_when_they_go_and_unmarked_when_they_are_back() -> None:
    gone = intents.noticed_gone(record(P.ISSUED, sources=two_sources()), live=frozenset({"Ingress/web"}), now=NOW)
    assert [s.gone_since for s in gone.sources] == [None, NOW]
    assert (gone.phase, gone.generation) == (P.ISSUED, 1)
    later = intents.noticed_gone(gone, live=frozenset({"Ingress/web"}), now=LATER)
    assert later == gone  # since when it is away does not move
    back = intents.noticed_gone(gone, live=frozenset({"Ingress/web", "Ingress/second"}), now=LATER)
    assert [s.gone_since for s in back.sources] == [None, None]


@pytest.mark.parametrize(("away", "leaves"), [(timedelta(minutes=10), True), (timedelta(seconds=599), False)])
def test_a_source_that_stayed_away_leaves_with_its_hosts(away: timedelta, leaves: bool) -> None:
    one, two = two_sources()
    both = intents.intended(record(P.ISSUED), sources=(one, replace(two, gone_since=NOW)))
    left = intents.without_gone(both, now=NOW + away, grace=timedelta(minutes=10))
    assert (len(left.sources), left.intent.hosts) == ((1, HOSTS) if leaves else (2, (*HOSTS, "c.certjob.dev")))
    assert left.generation == both.generation + leaves


def test_a_source_that_comes_again_is_not_gone() -> None:
    again = intents.joined((replace(source(), gone_since=NOW),), source())
    assert again == (source(),)


@pytest.mark.parametrize(("not_before", "phase"), [(LATER, P.WAITING), (None, P.FAILED)])
@pytest.mark.parametrize("start", [P.UNCONFIRMED, P.ORPHANED, P.RETIRED])
def test_wanted_again_its_back_off_goes_on(start: Phase, not_before: object, phase: Phase) -> None:
    retry = Retry(problem=PROBLEM, failures=2, intent_hash="x", not_before=not_before)  # type: ignore[arg-type]
    moved = t.kept_waiting(record(start, retry=retry), now=LATER)
    assert (moved.phase, moved.retry) == (phase, retry)
    with pytest.raises(t.IllegalTransition, match="nothing to wait for"):
        t.kept_waiting(record(start), now=LATER)


def test_a_tombstone_keeps_what_limits_and_names_need() -> None:
    entry = LedgerEntry(at=NOW, kind=Counted.ORDER, issuer="le")
    before = record(P.ORPHANED, issued=issued(), ledger=(entry,))
    moved = t.retired(before, now=LATER)
    assert (moved.epoch, moved.issued, moved.ledger) == (before.epoch, before.issued, (entry,))
    new = t.attempt_of(moved)
    assert (new.ordered, new.order_url, new.pending_key) == (False, "", "")
    assert t.retired(replace(before, attempt=None), now=LATER).attempt is None


def test_the_ledger_forgets_what_no_limit_looks_back_to() -> None:
    old = [LedgerEntry(at=NOW - window, kind=kind, issuer="le") for kind, window in ledger_entries.WINDOWS.items()]
    young = [replace(entry, at=entry.at + timedelta(seconds=1)) for entry in old]
    new = LedgerEntry(at=NOW, kind=Counted.ORDER, issuer="le")
    assert ledger_entries.remembered((*old, *young), new, now=NOW) == (*young, new)
    assert (
        len(ledger_entries.remembered((new,) * (2 * ledger_entries.LEDGER_LENGTH), new, now=NOW))
        == ledger_entries.LEDGER_LENGTH
    )


def test_orders_certificates_and_failures_are_counted() -> None:
    window = Renewal(check_after=LATER, at=NOW, start=NOW, end=LATER)
    renewing = record(P.ORDERING, issued=issued(renewal=window, at=NOW - timedelta(hours=1)))
    ordered = t.authorizing(renewing, order_url="new", expires=None, now=NOW, replaces="x.y")
    assert [(e.kind, e.exempt) for e in ordered.ledger] == [(Counted.ORDER, True)]
    known = t.authorizing(replace(ordered, phase=P.ORDERING), order_url="new", expires=None, now=NOW)
    assert known.ledger == ordered.ledger  # the same order, taken up again
    done = t.issued(replace(ordered, phase=P.INSTALLING), issued=issued(), now=NOW)
    assert [(e.kind, e.hosts) for e in done.ledger[1:]] == [(Counted.CERTIFICATE, HOSTS)]
    failed = t.failed(record(P.AUTHORIZING), problem=PROBLEM, now=NOW)
    assert [(e.kind, e.hosts) for e in failed.ledger] == [(Counted.FAILURE, (PROBLEM.host,))]
    other = t.failed(record(P.AUTHORIZING), problem=replace(PROBLEM, step="newOrder"), now=NOW)
    assert other.ledger == ()


def test_the_issuers_configuration_is_kept_with_a_failure() -> None:
    moved = t.failed(record(P.ORDERING), problem=PROBLEM, now=NOW, issuer="v1")
    assert moved.retry is not None
    assert (moved.retry.issuer, moved.retry.asked) == ("v1", False)
    asked = t.waiting(record(P.ORDERING), problem=PROBLEM, now=NOW, wait=timedelta(minutes=1), asked=True)
    assert asked.retry is not None
    assert asked.retry.asked


def test_after_a_revocation_neither_order_nor_key_goes_on() -> None:
    former = record(Phase.INSTALLING)
    made = t.launched(former, now=LATER, reason=LaunchReason.REVOKED)
    assert made.attempt is not None
    assert (made.attempt.ordered, made.attempt.order_url, made.attempt.pending_key) == (False, "", "")
    assert made.attempt.renews
    kept = t.launched(former, now=LATER, reason=LaunchReason.CRASHED)
    assert kept.attempt is not None
    assert kept.attempt.order_url


def test_what_was_issued_before_is_known_as_long_as_it_is_valid() -> None:
    long = LATER + timedelta(days=60)
    held = record(Phase.ISSUED, issued=issued(serial="0", not_after=long))
    for number in range(1, 8):
        held = t.issued(replace(held, phase=Phase.INSTALLING), NOW, issued=issued(serial=str(number), not_after=long))
    assert [one.serial for one in held.former] == ["3", "4", "5", "6"]
    held = t.issued(replace(held, phase=Phase.INSTALLING), long, issued=issued(serial="8", not_after=long))
    assert held.former == ()
