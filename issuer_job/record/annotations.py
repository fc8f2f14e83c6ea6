"""What users' annotations ask for, one row each. From it follow how it is read, what a record stores of it, whether
the intent's hash has it, what the issuer fills in, and its documentation. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from certs import formats
from certs.duration import parse_duration
from certs.errors import CertError
from certs.keys import KeyAlgorithm
from issuer_job import names
from issuer_job import vocabulary as v

_RFC_3339 = re.compile(r"(?a:\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d))")

Reading = tuple[str | int | tuple[str, ...] | None, tuple[str, ...]]
"""A value, None if nothing can meet the text, and what is wrong with that."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Stored data: unknown fields of a later version are ignored, defaults are left out."""


class Settings(Stored, frozen=True):
    """What the user's annotations ask for; empty means the issuer's default. `issuer` is always resolved.

    `renew_before` is in seconds. `formats` are the further keys that the Secret shall have.
    """

    issuer: str
    key_algorithm: str = ""
    profile: str = ""
    preferred_chain: str = ""
    renew_before: int = 0
    formats: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells one certificate from another."""
        return tuple(part for row in ANNOTATIONS if row.hashed for part in row.identity(getattr(self, row.field)))


@dataclass(frozen=True)
class Annotation:
    """An annotation that means the same on every kind of source.

    `field` of `Settings` takes what `read` makes of the text; none if it says nothing of the certificate. `doc` is
    what may be written and what it means, in Markdown. `hashed`: another value is another certificate.
    `from_issuer`: where it is not set, the issuer's field of the same name holds.
    """

    name: str
    field: str
    read: Callable[[str], Reading]
    doc: str
    hashed: bool = True
    from_issuer: bool = False

    def identity(self, value: str | tuple[str, ...]) -> tuple[str, ...]:
        """Its part of the hash. Whoever does not use one that came later keeps the hash, and so the certificate."""
        words = value if isinstance(value, tuple) else (value,)
        if self.field in _IN_EVERY_HASH:
            return words
        return (f"{self.field}={','.join(words)}",) if value else ()


_IN_EVERY_HASH = ("issuer", "key_algorithm", "profile", "preferred_chain", "formats")


def read_settings(notes: Mapping[str, str], *, default: str) -> tuple[Settings | None, tuple[str, ...]]:
    """What the annotations ask for, None if that cannot be met, and what is wrong with them, one line each.

    `default` is the default issuer's name.
    """
    found: dict[str, object] = {}
    wrong: tuple[str, ...] = ()
    for row in ANNOTATIONS:
        if text := notes.get(row.name):
            value, said = row.read(text)
            lines = tuple(f"{row.name}: {line}"[:119] for line in said)
            if value is None:
                return None, lines
            wrong += lines
            found |= {row.field: value} if row.field else {}
    return msgspec.structs.replace(Settings(issuer=default), **found), wrong


def comma_separated(text: str) -> list[str]:
    """The parts of a list separated by commas, without blanks."""
    return [part for word in text.split(",") if (part := word.strip())]


def _short(text: str) -> Reading:
    return (text, ()) if len(text) <= 100 else (None, ("longer than 100 characters",))


def _issuer(text: str) -> Reading:
    return (text, ()) if names.is_issuer_name(text) else (None, ("not the name of an issuer",))


def _algorithm(text: str) -> Reading:
    return (text, ()) if text in set(KeyAlgorithm) else (None, (f"not one of {', '.join(KeyAlgorithm)}",))


def _formats(text: str) -> Reading:
    """A certificate without the wish is better than none; so for the next one."""
    wanted, unknown = formats.known(comma_separated(text[:1000]))
    return wanted, tuple(f"unknown format {name[:40]!r}" for name in unknown)


def _seconds(text: str) -> Reading:
    if (short := _short(text))[0] is None:
        return short
    try:
        return max(1, int(parse_duration(text).total_seconds())), ()
    except CertError as problem:
        return 0, (str(problem),)


def read_moment(text: str) -> datetime | None:
    """A date and time with its zone (RFC 3339, section 5.6), in UTC; None if it is none."""
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC) if _RFC_3339.fullmatch(text) else None
    except (ValueError, OverflowError):  # the 31st of June; in UTC the year 10000
        return None


def _moment(text: str) -> Reading:
    """One that cannot be read costs no certificate."""
    if read_moment(text) is not None:
        return text, ()
    return "", (f"{text[:40]!r} is not a time such as 2026-12-01T08:00:00Z",)


ANNOTATIONS = (
    Annotation(
        v.ISSUER, "issuer", _issuer, "name of an issuer | opt in, with this issuer instead of the default one"
    ),
    Annotation(
        v.KEY_ALGORITHM,
        "key_algorithm",
        _algorithm,
        f"`{'`, `'.join(KeyAlgorithm)}` | the certificate's key; else the issuer's `keyAlgorithm`",
        from_issuer=True,
    ),
    Annotation(
        v.PROFILE,
        "profile",
        _short,
        "a profile that the CA offers | for example a short-lived certificate; else the issuer's `profile`",
        from_issuer=True,
    ),
    Annotation(
        v.PREFERRED_CHAIN,
        "preferred_chain",
        _short,
        "a common name | which of the CA's chains: the one whose topmost issuer has this name; "
        "else the issuer's `preferredChain`",
        from_issuer=True,
    ),
    Annotation(
        v.FORMATS,
        "formats",
        _formats,
        "`ca.crt`, `keystore.p12` and others, separated by commas | "
        "further keys of the Secret, see [Formats](docs/requests.md#formats)",
    ),
    Annotation(
        v.RENEW_BEFORE,
        "renew_before",
        _seconds,
        "`720h`, `30d`, `1h30m` | how long before its end the certificate is renewed, "
        "if its CA does not suggest an earlier time",
        hashed=False,
    ),
    Annotation(v.RETRY, "", _short, "anything new | try again now after a failure", hashed=False),
    Annotation(
        v.RENEW,
        "",
        _moment,
        "a time as `2026-12-01T08:00:00Z` (RFC 3339) | the certificate must not be older than this: it is renewed "
        "then, or now if the time is past, but not within an hour of the last one",
        hashed=False,
    ),
)
"""In the order of the hash: a new row goes last."""
