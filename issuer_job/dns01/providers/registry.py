"""DNS providers: lexicon's, and acme-dns. What they are called, what they need, and how they are asked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from typing import Protocol

from issuer_job.dns01.providers import lexicon as dns_lexicon
from issuer_job.dns01.providers.acme_dns import AcmeDns, accounts_from
from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.issuers.schema import Dns01

ACME_DNS = "acme-dns"
ACME_DNS_OPTIONS = ("server", "accounts")
AMBIENT = frozenset({"route53", "oci"})
"""Providers that may get along without credentials of ours."""
REQUIRED: Mapping[str, tuple[str, ...]] = {
    ACME_DNS: ACME_DNS_OPTIONS,
    "cloudflare": ("auth_token",),
    "ddns": ("auth_token", "ddns_server"),
    "powerdns": ("auth_token", "pdns_server"),
}
_SECRET = re.compile(r"token|secret|pass|psw|phrase|2fa|totp|service_account|key")
_NO_SECRET = re.compile(r"_id$|_is_global$|_file$|access_key$")

PathProblem = tuple[str, str]
"""What is wrong, and the path of the field."""

ReadSecret = Callable[[str], bytes | None]
"""Reads a key of the issuer's credentials."""


class Provider(Protocol):
    """Adds and removes TXT records by value; siblings under the same name stay. Both may be repeated."""

    def add(self, name: str, value: str) -> None:
        """Raises ProviderError."""

    def remove(self, name: str, value: str) -> None:
        """Raises ProviderError."""


class Scope(StrEnum):
    """What a provider's code reads, changes and writes back as a whole: two that do so at once would lose values."""

    VALUE = "value"
    """Nothing: it adds and removes single values."""
    NAME = "name"
    ZONE = "zone"


_SCOPES = {
    ACME_DNS: Scope.VALUE,
    "cloudflare": Scope.VALUE,
    "ddns": Scope.VALUE,
    "joker": Scope.ZONE,
    "namecheap": Scope.ZONE,
    "online": Scope.ZONE,
    "sakuracloud": Scope.ZONE,
    "valuedomain": Scope.ZONE,
}


def scope(provider: str) -> Scope:
    """All of a name's values unless something else is known."""
    return _SCOPES.get(provider, Scope.NAME)


def is_secret(option: str) -> bool:
    """Whether an option belongs into the Secret with credentials, by its name. Pure."""
    return bool(_SECRET.search(option)) and not _NO_SECRET.search(option)


def open_provider(dns01: Dns01, *, zone: str, mounted: ReadSecret) -> Provider:
    """Log in. Raises ProviderError."""
    try:
        options = _options(dns01.provider)
    except LookupError as problem:
        raise ProviderError(str(problem)) from None
    secrets = {name: value for name in options if (value := _secret(mounted, dns01.provider, name)) is not None}
    if dns01.provider == ACME_DNS:
        try:
            accounts = accounts_from(secrets.get("accounts", "{}").encode())
        except ValueError as problem:
            raise ProviderError(str(problem)) from None
        return AcmeDns(str(dns01.options.get("server", "")), accounts)
    return dns_lexicon.Lexicon(dns01, zone, secrets)


def check(dns01: Dns01, keys: Collection[str], *, path: str = "$") -> list[PathProblem]:
    """What is wrong with a solver's provider and options; `keys` are those of the credentials. No network is used."""
    try:
        options = _options(dns01.provider)
    except LookupError as problem:
        return [(str(problem), f"{path}.provider")]
    lacking = "" if dns01.provider == ACME_DNS else dns_lexicon.lacks_packages(dns01.provider)
    if lacking:
        return [(lacking, f"{path}.provider")]
    return list(_option_problems(dns01, options, frozenset(keys), path))


def providers() -> dict[str, bool]:
    """Every provider's name, and whether the packages that it needs are there."""
    return {ACME_DNS: True, **dns_lexicon.names()}


def _option_problems(
    dns01: Dns01, options: Collection[str], keys: frozenset[str], path: str
) -> Iterator[PathProblem]:
    provider = dns01.provider
    in_secret = {name for name in options if keys & {name, f"{provider}.{name}"}}
    for name in dns01.options:
        if name not in options:
            close = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(options)}"
            yield f"{provider} has no option {name[:63]!r}: {hint}", f"{path}.options.{name[:63]}"
        elif is_secret(name):
            yield f"{name} is a secret: make it a key of the Secret with credentials", f"{path}.options.{name}"
    given = in_secret | dns01.options.keys()
    for name in REQUIRED.get(provider, ()):
        if name not in given:
            where = "a key of the Secret with credentials" if name == "accounts" or is_secret(name) else "an option"
            yield f"{provider} needs {name}, {where}", f"{path}.options.{name}"
    secrets = [name for name in options if is_secret(name)]
    if provider not in REQUIRED and provider not in AMBIENT and secrets and not in_secret & set(secrets):
        wanted = " or ".join(secrets)
        yield f"{provider} has no credentials: the Secret has no key {wanted}", f"{path}.provider"


def _options(provider: str) -> Collection[str]:
    """Names of a provider's options. Raises LookupError."""
    return ACME_DNS_OPTIONS if provider == ACME_DNS else dns_lexicon.options(provider)


def _secret(mounted: ReadSecret, provider: str, option: str) -> str | None:
    value = mounted(f"{provider}.{option}")
    if value is None:
        value = mounted(option)
    return None if value is None else value.decode(errors="replace").strip()
