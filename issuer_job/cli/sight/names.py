"""Names as users write them: SECRET, secret/NAME, ingress/NAME, or a HOST. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import click

from certs.hostnames import covers, normalize
from issuer_job.status.shown import CertificateStatus


class NameKind(StrEnum):
    """What a name is one of."""

    SECRET = "Secret"  # noqa: S105 - a kind, not a secret
    INGRESS = "Ingress"
    ANY = "any"
    """A Secret, or if none is called so, a host."""


_KINDS = {
    "secret": NameKind.SECRET,
    "secrets": NameKind.SECRET,
    "ingress": NameKind.INGRESS,
    "ingresses": NameKind.INGRESS,
    "ing": NameKind.INGRESS,
}


@dataclass(frozen=True)
class Name:
    """One name, as it was `given`."""

    kind: NameKind
    name: str
    given: str

    @property
    def may_be_host(self) -> bool:
        """Whether it can be a host: those have dots."""
        return self.kind is NameKind.ANY and "." in self.name

    def is_asker_of(self, shown: CertificateStatus) -> bool:
        """Whether it is an Ingress that asks for the certificate."""
        return any((asker.kind, asker.name) == (str(self.kind), self.name) for asker in shown.asked_by)

    def chosen(self, every: Iterable[CertificateStatus]) -> list[CertificateStatus]:
        """The certificates that are meant: those of the Secret; else, of what may be a host, those good for it."""
        every = list(every)
        if self.kind is NameKind.INGRESS:
            return [shown for shown in every if self.is_asker_of(shown)]
        found = [shown for shown in every if shown.name == self.name]
        if found or not self.may_be_host:
            return found
        host = normalize(self.name)
        return [shown for shown in every if covers(shown.hosts, host)]


def read_name(given: str) -> Name:
    """What the user means. Raises click.UsageError."""
    kind, slash, name = given.rpartition("/")
    if not slash:
        return Name(NameKind.ANY, given, given)
    if kind.lower() not in _KINDS or not name:
        raise click.UsageError(f"{given!r} is none of SECRET, secret/NAME, ingress/NAME and HOST")
    return Name(_KINDS[kind.lower()], name, given)
