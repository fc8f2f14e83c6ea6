"""Every DNS provider: certjob's own, one row each, and lexicon's. What is wrong with a configuration of one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator

from issuer_job.dns01.providers import acme_dns, lexicon
from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.dns01.providers.provider import DnsProvider, OpenZone
from issuer_job.issuers.rules import PathProblem
from issuer_job.issuers.schema import Dns01

OWN = {provider.name: provider for provider in (acme_dns.PROVIDER,)}
"""Those that lexicon lacks."""

ReadSecret = Callable[[str], bytes | None]
"""Reads a key of the issuer's credentials."""


def find_provider(name: str) -> DnsProvider:
    """What is known of a provider. Raises ProviderError if there is none, or if this image cannot use it."""
    try:
        return OWN[name] if name in OWN else lexicon.describe(name)
    except LookupError:
        close = difflib.get_close_matches(name, provider_names(), n=1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise ProviderError(f"there is no provider {name[:63]!r}{hint}") from None


def provider_names() -> list[str]:
    """Of every provider."""
    return [*lexicon.names(), *OWN]


def open_zone(dns01: Dns01, *, zone: str, mounted: ReadSecret) -> OpenZone:
    """Log in. A secret may be kept under the provider's name and its own, or just its own. Raises ProviderError."""
    provider = find_provider(dns01.provider)
    secrets: dict[str, str] = {}
    for option in provider.options:
        for key in (option, f"{provider.name}.{option}"):
            if (value := mounted(key)) is not None:
                secrets[option] = value.decode(errors="replace").strip()
    return provider.open(dns01, zone, secrets)


def check(dns01: Dns01, keys: Collection[str], *, path: str = "$") -> list[PathProblem]:
    """What is wrong with a solver's provider and options; `keys` are those of the credentials. No network is used."""
    try:
        provider = find_provider(dns01.provider)
    except ProviderError as problem:
        return [(str(problem), f"{path}.provider")]
    if lacking := provider.lacks():
        return [(lacking, f"{path}.provider")]
    return list(_option_problems(provider, dns01, frozenset(keys), path))


def _option_problems(provider: DnsProvider, dns01: Dns01, keys: frozenset[str], path: str) -> Iterator[PathProblem]:
    in_secret = {name for name in provider.options if keys & {name, f"{provider.name}.{name}"}}
    for name in dns01.options:
        if name not in provider.options:
            close = difflib.get_close_matches(name, provider.options, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(provider.options)}"
            yield f"{provider.name} has no option {name[:63]!r}: {hint}", f"{path}.options.{name[:63]}"
        elif name in provider.secrets:
            yield f"{name} is a secret: make it a key of the Secret with credentials", f"{path}.options.{name}"
    given = in_secret | dns01.options.keys()
    for name in provider.required:
        if name not in given:
            where = "a key of the Secret with credentials" if name in provider.secrets else "an option"
            yield f"{provider.name} needs {name}, {where}", f"{path}.options.{name}"
    may_do_without = provider.required or provider.ambient or not provider.secrets
    if not may_do_without and not in_secret & provider.secrets:
        wanted = " or ".join(name for name in provider.options if name in provider.secrets)
        yield f"{provider.name} has no credentials: the Secret has no key {wanted}", f"{path}.provider"
