"""HTTP answers of a CA, bounded, and what they mean (RFC 8555 6.7). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from json import loads
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
from requests.structures import CaseInsensitiveDict

from issuer_job.acme_client.problems import (
    MAX_DETAIL,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    clean_text,
    parse_problem,
    unavailable,
)
from issuer_job.polling import parse_http_date, parse_retry_after

T = TypeVar("T")
P = ParamSpec("P")
MAX_URL = 2048
MAX_LINKS = 16384  # characters of Link headers
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_RELATIONS = re.compile(r";\s{0,9}rel\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)
_HTTPS = re.compile(
    r"https://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:[/?][\x21-\x5b\x5d-\x7e]*)?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer to a `step`, which came at `at` (aware), with its bounded body; `headers` ignore case."""

    url: str
    status: int
    headers: CaseInsensitiveDict[str]
    body: bytes
    step: str
    at: datetime

    @property
    def date(self) -> datetime | None:
        return parse_http_date(self.headers.get("Date"))

    @property
    def retry_after(self) -> timedelta | None:
        return parse_retry_after(self.headers.get("Retry-After"), answer_date=self.date, now=self.at)

    def links(self, relation: str) -> tuple[str, ...]:
        """Absolute targets of the Link headers (RFC 8288) with this relation, perhaps among others."""
        found = _LINK.findall(self.headers.get("Link", "")[:MAX_LINKS])
        related = ((target, _RELATIONS.search(parameters)) for target, parameters in found)
        return tuple(
            self._absolute(target.strip())
            for target, names in related
            if names is not None and relation in (names[1] or names[2]).lower().split()
        )

    def location(self) -> str:
        target = self.headers.get("Location")
        if not target:
            raise self.unusable("lacks a Location")
        return self._absolute(target)

    def _absolute(self, target: str) -> str:
        try:
            return urljoin(self.url, target)
        except ValueError:
            raise self.unusable("leads to what is no URL") from None

    def read(self, reader: Callable[Concatenate[object, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The JSON body as `reader` makes of it. Raises AcmeUnavailable."""
        try:
            return reader(self.document(), *args, **kwargs)
        except msgspec.ValidationError as error:
            raise self.unusable(f"is malformed: {error}") from None

    def document(self) -> object:
        """The JSON body; a member that is null is none. Raises AcmeUnavailable."""
        try:
            return loads(self.body, object_pairs_hook=_without_nulls)
        except (ValueError, RecursionError):  # not JSON, not UTF-8, a number of thousands of digits; too deep
            raise self.unusable("is not JSON") from None

    def unusable(self, what: str, *, retry_after: timedelta | None = None) -> AcmeUnavailable:
        sentence = f"the answer of {url_host(self.url)} (HTTP {self.status}) {what}"
        return unavailable(sentence, step=self.step, status=self.status, retry_after=retry_after)


def _without_nulls(members: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in members if value is not None}


def url_host(url: str) -> str:
    """Host and port for messages: paths may hold tokens and ids."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return clean_text(f"{parts.hostname or ''}{port}", limit=255) or "an address without a host"
    except ValueError:
        return "a malformed address"


def origin_of(url: str) -> str | None:
    """Host and port of an https URL, the only kind that ACME speaks (RFC 8555 6.1); None for anything else.

    Also for what libraries read in more than one way: user names, backslashes, white space, other than ASCII.
    """
    found = _HTTPS.fullmatch(url) if len(url) <= MAX_URL else None
    return None if found is None else f"{found[1].lower()}:{int(found[2] or 443)}"


def _refusal(answer: Answer) -> dict[str, object]:
    """The JSON object of an answer that is not 2xx, empty if it holds none."""
    try:
        document = answer.document()
    except AcmeUnavailable:
        return {}
    return document if isinstance(document, dict) else {}


def checked(answer: Answer) -> Answer:
    """Return a 2xx answer; raise the AcmeError that any other one means."""
    if 200 <= answer.status < 300:
        return answer
    if answer.status < 400:
        raise answer.unusable("is unexpected", retry_after=answer.retry_after)
    document = _refusal(answer)
    # A gateway's own JSON is no problem document; every member of one is optional, none of them is not one.
    known = not document.keys().isdisjoint(("type", "title", "detail"))
    if not known and answer.status != 429:
        words = document.get("message") or document.get("error")  # as some servers have it instead
        about = f", but: {clean_text(words, limit=MAX_DETAIL // 2)}" if isinstance(words, str) else ""
        raise answer.unusable(f"gives no reason{about}", retry_after=answer.retry_after)
    problem = parse_problem(document, status=answer.status) if known else None
    problem = problem or AcmeProblem("rateLimited", "the CA gave no reason", status=429)
    link = _action_link(answer, document) if problem.type == "userActionRequired" else None
    if link is not None and link not in problem.detail:
        problem = replace(problem, detail=clean_text(f"see {link} : {problem.detail}", limit=MAX_DETAIL))
    kind = AcmeUnavailable if answer.status >= 500 else AcmeError
    raise kind(problem, step=answer.step, retry_after=answer.retry_after, link=link)


def _action_link(answer: Answer, document: dict[str, object]) -> str | None:
    """The page where a person must act: the problem's `instance`, else the new terms (RFC 8555 7.3.3)."""
    instance = document.get("instance")
    found = [instance] if isinstance(instance, str) else [*answer.links("terms-of-service")]
    return clean_text(found[0], limit=MAX_DETAIL // 2) if found else None
