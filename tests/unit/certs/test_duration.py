"""Durations in annotations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.duration import LONGEST, parse_duration
from certs.errors import CertError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("720h", timedelta(days=30)),
        ("30d", timedelta(days=30)),
        ("1h30m", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("1d1h1m1s", timedelta(days=1, hours=1, minutes=1, seconds=1)),
        ("1s", timedelta(seconds=1)),
        ("3653d", LONGEST),
        ("007m", timedelta(minutes=7)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "30", "d", "30 d", "30d ", "-30d", "+1h", "1.5h", "1w", "1H", "h1", "1h-", "1234567s", "1h\n", "٣d"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(CertError, match="is not a duration such as 30d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0d0h", "3653d1s", "999999d", "999999d" * 100])
def test_what_is_too_short_or_too_long(text: str) -> None:
    with pytest.raises(CertError, match="not between one second and ten years"):
        parse_duration(text)


def test_the_message_stays_short() -> None:
    with pytest.raises(CertError) as caught:
        parse_duration("x" * 10_000)
    assert len(str(caught.value)) < 120


@pytest.mark.exhaustive
@given(st.text(max_size=30))
def test_whatever_a_user_writes(text: str) -> None:
    try:
        assert timedelta(0) < parse_duration(text) <= LONGEST
    except CertError:
        return
