"""What stands in a page's address: read, refused, and written anew."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer_job.status.shown import State
from webhook.view.page.query import MOST_CHARACTERS, MOST_PAGES, SORTS, BadQuery, Query, read_query

_words = st.text(max_size=40).map(str.strip)
_queries = st.builds(
    Query,
    namespace=_words,
    state=st.sampled_from(["", *State]),
    ready=st.sampled_from(["", "yes", "no", "unknown"]),
    issuer=_words,
    problem=_words,
    due=st.sampled_from(["", "24h", "7d"]),
    ends=st.sampled_from(["", "24h", "7d"]),
    q=_words,
    sort=st.sampled_from([*SORTS, *(f"-{sort}" for sort in SORTS)]),
    page=st.integers(1, 1000),
    refresh=st.sampled_from([0, 5, 30, 3600]),
)


def read(**given: str) -> Query:
    return read_query(given)


@settings(max_examples=40)
@given(_queries)
def test_an_address_that_a_page_writes_is_read_as_what_was_meant(query: Query) -> None:
    address = query.but(page=query.page)
    assert address.isascii()
    assert read_query(dict(parse_qsl(address.removeprefix("?"), keep_blank_values=True))) == query


def test_a_change_goes_back_to_the_first_page_and_leaves_the_rest() -> None:
    query = Query(namespace="shop", page=7)
    assert query.but(sort="expires") == "?namespace=shop&sort=expires"
    assert query.but(namespace="") == ""


def test_what_nobody_knows_is_left_alone() -> None:
    assert read(utm_source="x", state="", namespace=" ") == Query()


@pytest.mark.parametrize(
    "given_",
    [
        {"state": "issued"},
        {"sort": "serial"},
        {"sort": "--name"},
        {"ready": "maybe"},
        {"due": "1h"},
        {"page": "0"},
        {"page": "-1"},
        {"page": "1e9"},
        {"page": "9" * 500},
        {"page": "\u0663"},
        {"refresh": "1"},
        {"refresh": "0.5"},
        {"refresh": "86400"},
        {"q": "x" * (MOST_CHARACTERS + 1)},
        {"namespace": "\u202e" * 300},
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused_with_a_sentence(given_: dict[str, str]) -> None:
    with pytest.raises(BadQuery, match=f"^{next(iter(given_))} .{{3,120}}$"):
        read_query(given_)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["namespace", "state", "q", "sort", "page", "refresh", "due"]), st.text()))
def test_whatever_is_asked_is_refused_or_bounded(given_: dict[str, str]) -> None:
    with suppress(BadQuery):
        query = read_query(given_)
        assert max(map(len, (query.namespace, query.q))) <= MOST_CHARACTERS
        assert query == replace(query, page=min(query.page, MOST_PAGES))
