"""The last word: what is written is what is read, and nobody's invention gets through."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer_job import last_word
from issuer_job.last_word import MAX_BYTES, LastWord, Step, Tally, Work
from issuer_job.record.phases import ACTIVE, Phase

WORD = LastWord(
    work=Work.SWEEP,
    exit_code=11,
    problem="policiesNotInForce",
    trouble=2,
    seconds=3.5,
    cpu_seconds=1.25,
    peak_mib=61,
    steps={Step.OPENING: 3.5},
    counts={"put off for want of Jobs": 7, "RenewAsked": 50},
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("of an earlier process\n" * 100)
    assert last_word.leave(WORD, {"CERTJOB_TERMINATION_LOG": str(path)}) == ""
    assert path.read_text().count("\n") == 1
    assert json.loads(path.read_text())["exitCode"] == 11
    assert last_word.read(path.read_text()) == WORD


def test_a_process_that_can_say_nothing_ends_as_well(tmp_path: Path) -> None:
    assert last_word.leave(WORD, {"CERTJOB_TERMINATION_LOG": str(tmp_path / "none")}) == ""
    assert not (tmp_path / "none").exists()
    assert "Is a directory" in last_word.leave(WORD, {"CERTJOB_TERMINATION_LOG": str(tmp_path)})
    assert "No space left" in last_word.leave(WORD, {"CERTJOB_TERMINATION_LOG": "/dev/full"})


def test_the_time_is_that_of_the_step_under_way() -> None:
    now = 100.0
    tally = Tally(clock=lambda: now)
    for step, moment in ((Step.START, 101.0), (Step.CLAIMED, 103.0), (Step.ORDERING, 104.0), (Step.CLAIMED, 108.0)):
        now = moment
        tally.begin(step)
    now = 116.0
    word = tally.word(0)
    assert word.steps == {"Start": 2.0, "Claimed": 9.0, "Ordering": 4.0}
    assert word.seconds == 16.0
    assert word.peak_mib > 10


def test_each_phase_of_an_attempt_has_its_step() -> None:
    assert {str(phase) for phase in ACTIVE - {Phase.LAUNCHED}} < set(Step)


@pytest.mark.parametrize("given", ["urn:example:shop.example.com", "about:blank", "x" * 41, "a\nb", "ä", "1"])
def test_a_type_that_a_ca_made_up_is_another(given: str) -> None:
    assert Tally(problem=given).word(10).problem == "other"


def test_only_what_was_done_counts() -> None:
    word = Tally(counts=Counter({"looks": 3, "retired": 0, "trouble": 1})).word(0)
    assert (word.counts, word.trouble) == ({"looks": 3}, 1)


def test_a_line_is_never_too_long() -> None:
    counts = {f"{'x' * 40} {number}": number for number in range(200)}
    line = last_word.line_of(msgspec.structs.replace(WORD, counts=counts))
    assert len(line) <= MAX_BYTES
    kept = last_word.read(line.decode())
    assert kept is not None
    assert set(kept.counts.values()) == set(range(200 - len(kept.counts), 200))  # the largest
    assert len(kept.counts) > 30


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[]",
        "Error: no space left on device",
        '{"work":"issue"}',
        '{"work":"mine","exitCode":0}',
        '{"work":"issue","exitCode":256}',
        '{"work":"issue","exitCode":-1}',
        '{"work":"issue","exitCode":true}',
        '{"work":"issue","exitCode":0,"problem":"no such host: shop.example.com"}',
        '{"work":"issue","exitCode":0,"problem":"caa\\n"}',
        '{"work":"issue","exitCode":0,"problem":null}',
        '{"work":"issue","exitCode":0,"seconds":NaN}',
        '{"work":"issue","exitCode":0,"seconds":1e999}',
        '{"work":"issue","exitCode":0,"seconds":-1}',
        '{"work":"issue","exitCode":0,"peakMib":1e30}',
        '{"work":"issue","exitCode":0,"steps":{"Start":"1"}}',
        '{"work":"issue","exitCode":0,"steps":[]}',
        '{"work":"sweep","exitCode":0,"counts":{"a\\u001b[31m":1}}',
        '{"work":"sweep","exitCode":0,"counts":{"a\\n":1}}',
        '{"work":"sweep","exitCode":0,"counts":{"looks":-1}}',
        '{"work":"sweep","exitCode":0,"counts":{"looks":10000000000}}',
        '{"work":"sweep","exitCode":0}' + " " * MAX_BYTES,
        "[" * MAX_BYTES,
        '{"a":' * 600,
        '{"work":"sweep","exitCode":0,"problem":"\ud800"}',
    ],
)
def test_what_certjob_did_not_write_is_nothing(message: str) -> None:
    assert last_word.read(message) is None


def test_what_a_later_certjob_says_besides_is_left_out() -> None:
    said = '{"work":"issue","exitCode":0,"steps":{"Start":1,"Pondering":2},"mood":"good"}'
    assert last_word.read(said) == LastWord(work=Work.ISSUE, exit_code=0, steps={"Start": 1.0})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("work", "exitCode", "problem", "trouble", "seconds", "cpuSeconds", "peakMib", "steps", "counts")


@pytest.mark.exhaustive
@given(
    said=st.text() | st.dictionaries(st.sampled_from(FIELDS), JSON).map(json.dumps),
    extra=st.dictionaries(st.sampled_from(FIELDS), JSON),
)
@settings(max_examples=60)
def test_nothing_makes_the_reader_raise_and_what_it_gives_is_bounded(said: str, extra: dict[str, object]) -> None:
    for message in (said, json.dumps({"work": "sweep", "exitCode": 0, **extra})):
        word = last_word.read(message)
        if word is not None:
            assert set(word.steps) <= set(Step)
            assert all(
                name.isascii() and name.isprintable() and len(name) <= 48 for name in (*word.counts, word.problem)
            )
            assert last_word.read(last_word.line_of(word).decode()) == word
