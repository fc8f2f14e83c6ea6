"""Which namespace may have which host, as an operator writes it down: in an issuer and in the options."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from certs import hostnames
from certs.hostnames import HostReason

Text = Annotated[str, msgspec.Meta(min_length=1)]


class HostRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Namespaces (names or globs, as in a shell) that may have the hosts under DNS suffixes.

    A suffix `example.com` stands for itself, for every name below it and for wildcards below it. A wrong one fails
    the decoding with a message that names it; msgspec adds the path of the rule.
    """

    namespaces: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    suffixes: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        for number, suffix in enumerate(self.suffixes):
            if not _is_dns_name(hostnames.normalize(suffix)):
                hint = "example.com stands for every name below it, too"
                raise ValueError(f"suffixes[{number}]: {suffix[:100]!r} is not a DNS name ({hint})")

    def allows(self, namespace: str, host: str) -> bool:
        """Whether this rule gives the namespace the host, which is as `hostnames.normalize` gives it."""
        if not any(fnmatchcase(namespace, glob) for glob in self.namespaces):
            return False
        return any(_is_under(host, hostnames.normalize(suffix)) for suffix in self.suffixes)


def allow(rules: Iterable[HostRule], namespace: str, host: str) -> bool:
    """Whether any of the rules gives the namespace the host; none does if there are none."""
    return any(rule.allows(namespace, host) for rule in rules)


def _is_under(host: str, suffix: str) -> bool:
    return host == suffix or host.endswith(f".{suffix}")


def _is_dns_name(name: str) -> bool:
    """A whole zone of one label, as `internal`, will do."""
    problem = hostnames.check_host(name, allow_wildcard=False, private_suffixes=())
    return problem is None or problem.reason is HostReason.SINGLE_LABEL
