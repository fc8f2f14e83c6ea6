"""Which certificates a page of the list has. Pure, and quick: with every request it goes over all there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from webhook.view.page.query import SPANS, Query
from webhook.view.rows import CertificateRow

PAGE = 100


@dataclass(frozen=True)
class Listing:
    """One page of those that were asked for. `page` may be another than was asked for: the last one, then."""

    rows: tuple[CertificateRow, ...]
    found: int
    page: int
    pages: int

    @property
    def first(self) -> int:
        """Number of the first one on the page."""
        return (self.page - 1) * PAGE + 1


def chosen(
    rows: Sequence[CertificateRow], query: Query, *, now: float, problem_of: Callable[[CertificateRow], str]
) -> Listing:
    """`now` is in seconds since 1970; `problem_of` tells the type of a row's problem, empty if there is none."""
    found = [row for row in rows if all(test(row) for test in _tests(query, now, problem_of))]
    found.sort(key=lambda row: (row.namespace, row.name))
    backwards, by = query.sort.startswith("-"), query.sort.removeprefix("-")
    if by in _MOMENTS:
        moment = _MOMENTS[by]
        found.sort(key=moment, reverse=backwards)
        found.sort(key=lambda row: not moment(row))  # what has none comes last
    elif by in _WORDS:
        found.sort(key=_WORDS[by], reverse=backwards)
    elif backwards:
        found.reverse()
    pages = max(1, -(-len(found) // PAGE))
    page = min(query.page, pages)
    return Listing(tuple(found[(page - 1) * PAGE : page * PAGE]), len(found), page, pages)


_MOMENTS: dict[str, Callable[[CertificateRow], float]] = {
    "expires": lambda row: row.not_after,
    "renewal": lambda row: row.renewal,
}
_WORDS: dict[str, Callable[[CertificateRow], str]] = {
    "state": lambda row: row.state,
    "issuer": lambda row: row.issuer,
}


def _tests(
    query: Query, now: float, problem_of: Callable[[CertificateRow], str]
) -> Iterator[Callable[[CertificateRow], bool]]:
    """What a row must be."""
    if query.namespace:
        yield lambda row: row.namespace == query.namespace
    if query.state:
        yield lambda row: row.state == query.state
    if query.ready:
        yield lambda row: readiness(row, now) == query.ready
    if query.issuer:
        yield lambda row: row.issuer == query.issuer
    if query.problem:
        yield lambda row: problem_of(row) == query.problem
    if query.due:
        yield lambda row: is_due(row, now, query.due)
    if query.ends:
        yield lambda row: ends(row, now, query.ends)
    if query.q:
        text = query.q.lower()
        yield lambda row: text in row.hosts or text in f"{row.namespace}/{row.name}"


def readiness(row: CertificateRow, now: float) -> str:
    """In a word of `Query.ready`."""
    if not row.known:
        return "unknown"
    return "yes" if row.is_ready(now) else "no"


def is_due(row: CertificateRow, now: float, span: str) -> bool:
    """Whether it is to be renewed within that."""
    return bool(row.renewal) and row.is_wanted and row.renewal <= now + SPANS[span]


def ends(row: CertificateRow, now: float, span: str) -> bool:
    """Whether what is issued ends within that, or has ended."""
    return bool(row.not_after) and row.is_wanted and row.not_after <= now + SPANS[span]
