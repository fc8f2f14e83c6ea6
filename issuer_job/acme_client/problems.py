"""Problem documents (RFC 7807, RFC 8555 6.7) and the exceptions that carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from certs.hostnames import first_few

ERROR_NAMESPACE = "urn:ietf:params:acme:error:"
NO_TYPE = "about:blank"
UNUSABLE = "noUsableAnswer"
"""Type of what is no problem of the CA's: there was no answer, or none that could be used."""
MAX_DETAIL = 1000
MAX_TYPE = 200
MAX_IDENTIFIER = 255
MAX_SUBPROBLEMS = 20

# What no later attempt with the same order changes.
PERMANENT_TYPES = frozenset(
    {
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "caa",
        "badCSR",
        "invalidProfile",
        "externalAccountRequired",
    }
)

# What a CA says of a host's proof passes, whatever it calls it: it has taken the order, and looks again when asked.
_OF_A_PROOF = frozenset({"challenge", "authorization"})
_PERMANENT_FOR_A_PROOF = frozenset({"caa"})

# Also what shows text in another order than it has, or not at all, and halves of characters, which no file takes.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]+"
)
# CAs quote what they expected and the URL they asked: details are shown to others, tokens are not.
_KEY_AUTHORIZATION = re.compile(r"[A-Za-z0-9_-]{16,128}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
_CHALLENGE_PATH = re.compile(r"(/\.well-known/acme-challenge/)[^\s\"'<>\]\[),;:]+")


@dataclass(frozen=True, slots=True)
class AcmeProblem:
    """One problem, bounded and safe to log: no control characters, tokens or key authorizations.

    `type` is short ("rateLimited") in ACME's namespace, else the whole URI. `status` is the HTTP
    status, 0 if none. `identifier` is the host it is about, if the CA says so.
    """

    type: str
    detail: str
    status: int = 0
    identifier: str | None = None
    subproblems: tuple[AcmeProblem, ...] = ()

    def __str__(self) -> str:
        kind = "" if self.type in (NO_TYPE, UNUSABLE) else f"{self.type}: "
        about = f" ({self.identifier})" if self.identifier else ""
        return f"{kind}{self.words}{about}"

    @property
    def words(self) -> str:
        """The detail, and what is said of single hosts, which often is the reason (6.7.1)."""
        said: dict[str, list[str]] = {}
        for part in self.subproblems:
            kind = "" if part.type == NO_TYPE else f" ({part.type})"
            said.setdefault(f"{part.detail}{kind}", []).append(part.identifier or "a host")
        return clean_text(
            "; ".join([self.detail, *(f"{first_few(on)}: {of}" for of, on in said.items())]), limit=MAX_DETAIL
        )


class AcmeError(Exception):
    """The CA refused a step. `step` names it; `retry_after` is the CA's wish, at most 7 days."""

    def __init__(
        self,
        problem: AcmeProblem,
        *,
        step: str,
        retry_after: timedelta | None = None,
        link: str | None = None,
    ) -> None:
        super().__init__(f"{step}: {problem}")
        self.problem = problem
        self.step = step
        self.retry_after = retry_after
        self.link = link  # where a person must act (userActionRequired, RFC 8555 7.3.3)

    @property
    def is_permanent(self) -> bool:
        """Trying again without a change of order or issuer is useless."""
        types = _PERMANENT_FOR_A_PROOF if self.step in _OF_A_PROOF else PERMANENT_TYPES
        problems = (self.problem, *self.problem.subproblems)
        return any(problem.type in types for problem in problems)

    @property
    def is_rate_limited(self) -> bool:
        return self.problem.type == "rateLimited" or self.problem.status == 429

    @property
    def is_already_replaced(self) -> bool:
        """RFC 9773 5: order again without `replaces`."""
        return self.problem.type == "alreadyReplaced"


class ExternalAccountRefused(AcmeError):
    """The CA did not accept the external account binding: its key must be renewed by a person."""

    @property
    def is_permanent(self) -> bool:
        return True


class AcmeUnavailable(AcmeError):
    """No usable answer: connection failed, timed out, 5xx, not JSON, too big or against the protocol."""

    @property
    def is_permanent(self) -> bool:
        return False


class CaSilent(AcmeUnavailable):
    """None came, or none in time: nobody knows whether what was asked for was done."""


class ForeignUrl(AcmeError):
    """A URL that was to be asked is not the CA's: nothing was sent there."""


def unavailable(
    sentence: str, *, step: str, status: int = 0, retry_after: timedelta | None = None
) -> AcmeUnavailable:
    return AcmeUnavailable(unusable(sentence, status=status), step=step, retry_after=retry_after)


def unusable(sentence: str, *, status: int = 0) -> AcmeProblem:
    """The problem of an answer that says nothing of use, or did not come."""
    return AcmeProblem(UNUSABLE, clean_text(sentence, limit=MAX_DETAIL), status=status)


def parse_problem(
    document: object,
    *,
    status: int = 0,
    identifier: str | None = None,
    secrets: Iterable[str] = (),
    nested: bool = True,
) -> AcmeProblem | None:
    """Read a problem document leniently: wrongly typed members count as absent. None if it is no object.

    `status` is the answer's and beats the document's; `identifier` is used if the document names
    none; `secrets` (tokens) are blotted out; subproblems are read if `nested`, and have none themselves.
    """
    if not isinstance(document, dict):
        return None
    listed = document.get("subproblems") if nested else ()
    items = listed[:MAX_SUBPROBLEMS] if isinstance(listed, list) else ()
    subproblems = (parse_problem(item, secrets=secrets, nested=False) for item in items)
    detail = _text(document, "detail") or _text(document, "title")
    named = document.get("identifier")
    host = _text(named, "value") if isinstance(named, dict) else ""
    return AcmeProblem(
        type=clean_text(_text(document, "type").removeprefix(ERROR_NAMESPACE), limit=MAX_TYPE) or NO_TYPE,
        detail=clean_text(detail, limit=MAX_DETAIL, secrets=secrets) or "the CA gave no detail",
        status=status or _http_status(document.get("status")),
        identifier=clean_text(host, limit=MAX_IDENTIFIER) or identifier,
        subproblems=tuple(filter(None, subproblems)),
    )


def clean_text(text: str, *, limit: int, secrets: Iterable[str] = ()) -> str:
    """One line of at most `limit` characters, without key authorizations, challenge paths' tokens and `secrets`."""
    # Cut first (generously): the expressions must not run over a megabyte.
    text = _CONTROL.sub(" ", text[: 4 * limit]).strip()
    text = _KEY_AUTHORIZATION.sub("[key authorization]", text)
    text = _CHALLENGE_PATH.sub(r"\1[token]", text)
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[token]")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(document: dict[str, Any], member: str) -> str:
    value = document.get(member)
    return value if isinstance(value, str) else ""


def _http_status(value: object) -> int:
    return value if type(value) is int and 100 <= value <= 599 else 0
