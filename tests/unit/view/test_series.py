"""How many series there can be, whatever records, issuers and pods say."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from issuer_job import names
from issuer_job.issuers.state import CHECK_RESULT, READY, state_body
from issuer_job.last_word import LastWord, Step, Work
from issuer_job.metrics.families import OTHER
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import AttemptState, HistoryEntry, Phase, Problem, Record, Retry
from issuer_job.status.shown import State
from tests.worlds.samples import issued, source
from tests.worlds.samples import record as a_record
from tests.worlds.view import ViewWorld, issuer_object, pod, stored
from webhook.view import families as f
from webhook.view.history import AttemptOutcome
from webhook.view.results import ISSUE_STEPS

NEVER = {"host", "hosts", "serial", "url", "pod", "job", "epoch", "uid"}
_MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
_WORDS = st.text(max_size=12)
_ISSUERS = st.sampled_from(["le", "ca", "mine", ""]) | _WORDS
_TYPES = st.sampled_from(sorted(f.TYPES)) | _WORDS
_PROBLEMS = st.builds(Problem, type=_TYPES, detail=_WORDS, host=_WORDS, step=_WORDS)
_RETRIES = st.builds(
    Retry,
    problem=_PROBLEMS,
    failures=st.integers(-5, 1 << 40),
    intent_hash=_WORDS,
    not_before=st.none() | _MOMENTS,
)
_HISTORY = st.builds(
    HistoryEntry,
    at=_MOMENTS,
    epoch=st.integers(0, 2),
    event=st.sampled_from(["launched", "issued", "adopted", "waiting", "failed", "held back"]) | _WORDS,
    detail=st.sampled_from(list(map(str, LaunchReason))) | _WORDS,
    type=st.just("") | _TYPES,
)


@st.composite
def records(draw: Any) -> Record:
    """Anything that can be stored as a record."""
    intent = source().settings
    return Record(
        namespace=draw(st.sampled_from(["shop", "mail"]) | _WORDS),
        secret_name=draw(st.sampled_from(["a", "b", "c", "x" * 300]) | _WORDS),
        phase=draw(st.sampled_from(Phase)),
        intent=replace(a_record().intent, settings=replace(intent, issuer=draw(_ISSUERS))),
        sources=(),
        since=draw(_MOMENTS),
        attempt=draw(st.none() | st.builds(AttemptState, epoch=st.integers(), launched_at=_MOMENTS, reason=_WORDS)),
        issued=draw(
            st.none()
            | st.builds(lambda begin, end: issued(not_before=begin, not_after=end, at=begin), _MOMENTS, _MOMENTS)
        ),
        retry=draw(st.none() | _RETRIES),
        history=tuple(draw(st.lists(_HISTORY, max_size=12))),
        uid="u",
    )


@pytest.mark.exhaustive
@settings(max_examples=80, deadline=None)
@given(st.lists(records(), max_size=12))
def test_whatever_records_say_the_series_are_bounded(made: list[Record]) -> None:
    world = ViewWorld(datetime(2026, 5, 5, tzinfo=UTC))
    world.first()
    world.snapshot.issuers.put(issuer_object("ca", "type: selfsigned\n"))
    for record in made:
        world.put(record)
    told, certificates, issuers = world.told(), len({record.name for record in made}), 2 + 1
    own = sum(len(told.get(one.name, {})) for one in (f.READY, f.NOT_BEFORE, f.NOT_AFTER, f.RENEWAL))
    assert own <= 4 * certificates
    assert len(told.get(f.FAILING.name, {})) <= certificates
    assert len(told[f.CERTIFICATES.name]) <= 12 * issuers
    assert sum(told[f.CERTIFICATES.name].values()) == certificates
    counted = len(told.get(f.ATTEMPTS.name, {})) + len(told.get(f.PROBLEMS.name, {}))
    assert counted < 150 * issuers
    assert len([0 for name in told if name.startswith("issuance_seconds") for _ in told[name]]) <= 28 * issuers
    assert sum(len(told.get(one.name, {})) for one in (f.ISSUER_READY, f.LIMIT, f.LIMIT_USED)) <= 9 * issuers
    assert sum(map(len, told.values())) <= 5 * certificates + 200 * issuers + 130  # as docs/metrics.md says
    for series in told.values():
        for labels in series:
            assert not NEVER & {key for key, _ in labels}
            assert all(len(value) <= 253 for _, value in labels)


def test_the_closed_lists_keep_the_bounds_whatever_happens() -> None:
    reasons = {*f.REASONS.values(), OTHER}
    assert len(reasons) * len(AttemptOutcome) + len(f.TYPES | {OTHER}) < 150
    assert len(State) * 2 == 12
    assert 2 * (len(f.SECONDS) + 3) == 28
    assert len(ISSUE_STEPS) * (len(f.SECONDS) + 3) <= 130
    assert len(f.ITEMS) + 4 < 30


def test_no_label_is_of_what_there_is_no_end() -> None:
    for family in f.FAMILIES:
        assert not NEVER & set(family.labels)
        assert len(set(family.labels)) == len(family.labels)


def test_every_step_of_every_pod_is_of_the_closed_list() -> None:
    world = ViewWorld()
    world.first()
    steps = {str(step): 1.0 for step in Step}
    for number in range(3):
        world.snapshot.pods.put(pod(f"p{number}", LastWord(work=Work.ISSUE, exit_code=0, steps=steps)))
    told = world.told()
    series = sum(len(found) for name, found in told.items() if name.startswith("issuance_step_seconds"))
    assert series == len(ISSUE_STEPS) * (len(f.SECONDS) + 3)


@pytest.mark.parametrize("count", [1, 5])
def test_an_issuer_has_nine(count: int) -> None:
    world = ViewWorld()
    world.first()
    for number in range(count):
        name = f"le-{number}"
        world.snapshot.issuers.put(issuer_object(name))
        world.snapshot.states.put(state_body(name, "https://ca.certjob.dev/dir", {CHECK_RESULT: READY}))
    world.snapshot.issuers.drop(issuer_object())
    told = world.told()
    found = Counter(
        dict(labels)["issuer_name"]
        for name, series in told.items()
        if name.startswith("issuer_")
        for labels in series
    )
    assert found == {f"le-{number}": 9 for number in range(count)}


def test_a_record_that_names_what_kubernetes_would_not_is_unreadable() -> None:
    world = ViewWorld()
    world.first()
    for namespace, secret in (("shop\n", "x" * 300), ("a" * 64, "x" * 300), ("shop", '"x"' * 100), ("", "x" * 300)):
        made = replace(a_record(), namespace=namespace, secret_name=secret)
        body = stored(made)
        assert body["metadata"]["name"] == names.record(namespace, secret)
        body["metadata"]["name"] = body["metadata"]["name"][:253]
        world.snapshot.certificates.put(body)
    told = world.told()
    assert f.READY.name not in told
    assert {dict(labels)["type"] for labels in told[f.FAILING.name]} == {"recordUnreadable"}
