"""The resources of RFC 8555 7.1 as frozen results, read from answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from certs.hostnames import normalize, without_redundant
from issuer_job.acme_client.problems import NO_TYPE, AcmeProblem, parse_problem

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 always has a zone (RFC 8555 uses it everywhere); one without is no RFC 3339 timestamp."""
_FEW = msgspec.Meta(max_length=1000)
_PER_HOST = msgspec.Meta(max_length=250)
"""Of what an order has one for each of its hosts, of which there are at most 100."""
_Word = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}\Z")]
"""What is logged and told as it is."""
_Name = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")]


CHALLENGE_TYPES = ("http-01", "dns-01")
"""Those that are answered."""


class _Identifier(msgspec.Struct):
    value: _Name
    type: _Word = "dns"


class _Order(msgspec.Struct):
    status: _Word
    identifiers: Annotated[list[_Identifier], _PER_HOST]
    authorizations: Annotated[list[str], _PER_HOST]
    finalize: str
    certificate: str | None = None
    expires: _Moment | None = None
    error: Any = None


class _Challenge(msgspec.Struct):
    type: _Word
    url: str
    status: _Word = "pending"
    token: str = ""
    error: Any = None


class _Authorization(msgspec.Struct):
    identifier: _Identifier
    status: _Word
    challenges: Annotated[list[Any], _FEW] = []
    expires: _Moment | None = None
    wildcard: bool = False


class _Window(msgspec.Struct):
    start: _Moment
    end: _Moment


class _RenewalInfo(msgspec.Struct):
    suggestedWindow: _Window
    explanationURL: str | None = None


class _OrdersPage(msgspec.Struct):
    orders: Annotated[tuple[str, ...], _FEW]


class _Account(msgspec.Struct):
    status: _Word
    orders: Any = None
    contact: Any = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account (7.1.2). `status`: valid, deactivated or revoked. `orders_url` only if the CA has the list, and
    `contacts`, e-mail addresses, only if it tells them.
    """

    url: str
    status: str
    orders_url: str | None = None
    contacts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order (7.1.3). `status`: pending, ready, processing, valid or invalid. `expires` is aware.

    `retry_after` is the CA's wish for the next poll, from the answer's header.
    """

    url: str
    status: str
    expires: datetime | None
    identifiers: tuple[str, ...]
    authorization_urls: tuple[str, ...]
    finalize_url: str
    certificate_url: str | None
    error: AcmeProblem | None
    retry_after: timedelta | None

    def is_for(self, hosts: Iterable[str]) -> bool:
        """Whether its certificate is good for exactly these (normalized) hosts."""
        return set(without_redundant(map(normalize, self.identifiers))) == set(without_redundant(hosts))


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge (7.1.5, 8). The token is secret until answered, so it is not in the repr."""

    type: str
    url: str
    token: str = field(repr=False)
    status: str
    error: AcmeProblem | None


@dataclass(frozen=True, slots=True)
class Authorization:
    """An authorization (7.1.4) for `host`, without the "*." that `wildcard` stands for."""

    url: str
    host: str
    wildcard: bool
    status: str
    expires: datetime | None
    challenges: tuple[Challenge, ...]
    retry_after: timedelta | None = None

    @property
    def name(self) -> str:
        """As it was ordered: with "*." if it is for a wildcard."""
        return f"*.{self.host}" if self.wildcard else self.host

    @property
    def is_final(self) -> bool:
        return self.status != "pending"

    @property
    def problem(self) -> AcmeProblem | None:
        """Why it can no longer become valid: the failed challenge's problem, or a sentence. None: it can."""
        if self.status in ("pending", "valid"):
            return None
        for challenge in self.challenges:
            if challenge.error is not None:
                return challenge.error
        return AcmeProblem(
            type=NO_TYPE,
            detail=f"the authorization is {self.status} and the CA gave no reason",
            identifier=self.host,
        )

    def challenge(self, kind: str) -> Challenge | None:
        """Its challenge of that type. CAs need not show any more what was not used (7.1.4)."""
        return next((challenge for challenge in self.challenges if challenge.type == kind), None)

    def is_open(self, kind: str) -> bool:
        """Whether a challenge of that type may still prove the host: some CAs leave it pending when it has failed."""
        challenge = self.challenge(kind)
        return not self.is_final and (challenge is None or challenge.status != "invalid")

    def problem_with(self, kind: str) -> AcmeProblem | None:
        """What the CA has said against a proof by that type; None if the host is proven, or nothing was said yet.

        A challenge may have an error while it is pending or processing: the CA has looked, in vain so far (8.2).
        """
        challenge = self.challenge(kind)
        if self.status == "valid":
            return None
        if challenge is not None and challenge.error is not None:
            return challenge.error
        if self.problem is None and not self.is_open(kind):
            return AcmeProblem(NO_TYPE, "the challenge is invalid and the CA gave no reason", identifier=self.host)
        return self.problem


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """ARI's suggested window (RFC 9773 4.2) and when to ask again (1 minute to 1 day)."""

    start: datetime
    end: datetime
    explanation_url: str | None
    retry_after: timedelta


def read_account(document: object, *, url: str) -> Account:
    """This and the other readers raise msgspec.ValidationError if the document is not what its name says."""
    body = msgspec.convert(document, _Account)
    listed = body.orders if isinstance(body.orders, str) else None
    told = body.contact if isinstance(body.contact, list) else None
    contacts = None if told is None else tuple(str(address).removeprefix("mailto:") for address in told)
    return Account(url=url, status=body.status, orders_url=listed, contacts=contacts)


def read_order(document: object, *, url: str, retry_after: timedelta | None) -> Order:
    body = msgspec.convert(document, _Order)
    return Order(
        url=url,
        status=body.status,
        expires=body.expires,
        identifiers=tuple(identifier.value for identifier in body.identifiers),
        authorization_urls=tuple(body.authorizations),
        finalize_url=body.finalize,
        certificate_url=body.certificate,
        error=parse_problem(body.error),
        retry_after=retry_after,
    )


def read_authorization(document: object, *, url: str, retry_after: timedelta | None) -> Authorization:
    body = msgspec.convert(document, _Authorization)
    return Authorization(
        url=url,
        host=body.identifier.value,
        wildcard=body.wildcard,
        status=body.status,
        expires=body.expires,
        challenges=tuple(_known(body.challenges, host=body.identifier.value)),
        retry_after=retry_after,
    )


def read_challenge(document: object, *, host: str | None = None) -> Challenge:
    return _challenge(msgspec.convert(document, _Challenge), host=host)


def read_renewal_info(document: object, *, retry_after: timedelta) -> RenewalInfo:
    body = msgspec.convert(document, _RenewalInfo)
    start, end = body.suggestedWindow.start, body.suggestedWindow.end
    if end <= start:  # RFC 9773 4.2
        raise msgspec.ValidationError("the suggested window ends before it starts")
    return RenewalInfo(start=start, end=end, explanation_url=body.explanationURL, retry_after=retry_after)


def read_order_urls(document: object) -> tuple[str, ...]:
    """One page of an account's orders list (7.1.2.1). Of smallstep's CAs it is the array alone."""
    return msgspec.convert({"orders": document} if isinstance(document, list) else document, _OrdersPage).orders


def _known(items: list[Any], *, host: str) -> Iterator[Challenge]:
    """The challenges that can be read. What others look like is their own matter, and a client passes them by."""
    for item in items:
        try:
            yield read_challenge(item, host=host)
        except msgspec.ValidationError:
            if isinstance(item, dict) and item.get("type") in CHALLENGE_TYPES:
                raise


def _challenge(body: _Challenge, *, host: str | None) -> Challenge:
    error = parse_problem(body.error, identifier=host, secrets=(body.token,))
    return Challenge(type=body.type, url=body.url, token=body.token, status=body.status, error=error)
