"""By what a certificate that was found is known for one that its issuer gave, or would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Resolved
from issuer_job.cluster.api import CONFIGMAPS, KubeError
from issuer_job.issuers.load import IssuerError, is_issuer, parse_issuer
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import IssuerTrust, change_state, load_state, note_signers
from issuer_job.issuers.types import SELF_SIGNED, directory_of, type_of
from issuer_job.record.record import Record
from issuer_job.record.renewal import too_short


def trust_of(
    name: str, own: str, *, issuers: Callable[[str], Issuer | None], signers: Callable[[str, str], bytes]
) -> IssuerTrust:
    """For certificates of issuer `name`; where that is a fallback, `own` is the one that asks for it.

    `issuers` answers an issuer by its name, None for one that is not there or wrong; `signers` what is known to have
    signed for an issuer (name, directory), see `issuers.state`. Both are asked when it is needed.
    """
    issuer = issuers(name)
    if issuer is None:
        return IssuerTrust(roots=lambda: (public_roots(),))
    directory = directory_of(issuer)

    def knows(other: str) -> bool:
        return any(_same(other, each) for each in _directories(directory, issuer, {name, own}, issuers))

    return IssuerTrust(
        name=name,
        directory=directory,
        knows=knows,
        signers=lambda: signers(name, directory),
        roots=lambda: (public_roots(), issuer.ca_bundle.encode()),
        signs_itself=issuer.type == SELF_SIGNED.name,
    )


def givers(record: Record, issuers: Mapping[str, Issuer]) -> Iterator[str]:
    """Names of the issuers that may have given what is issued: the one that is asked for it, or that one's fallback.

    None if its owner has put it there, or the CA that it is from is none of theirs any more.
    """
    own, directory = record.intent.settings.issuer, record.issued.directory if record.issued is not None else ""
    fallback = issuers[own].fallback if own in issuers else None
    for name in (own, *([fallback.issuer] if fallback is not None else ())):
        if directory and name in issuers and _same(directory, directory_of(issuers[name])):
            yield name


def trust_in(attempt: Attempt, resolved: Resolved) -> IssuerTrust:
    """By what a certificate that was found is known for the issuer's."""
    cluster = attempt.cluster

    def issuer(name: str) -> Issuer | None:
        if name == resolved.name:
            return resolved.issuer
        found = cluster.find(CONFIGMAPS, v.NAMESPACE, name)
        try:
            return None if found is None or not is_issuer(found) else parse_issuer(found)
        except IssuerError:
            return None

    def signers(name: str, directory: str) -> bytes:
        return load_state(cluster, name, directory).signers

    return trust_of(resolved.name, attempt.record.intent.settings.issuer, issuers=issuer, signers=signers)


def remember_issued(
    attempt: Attempt, resolved: Resolved, chain_pem: bytes, *, validity: tuple[datetime, datetime]
) -> None:
    """By whom the issuer's certificates are signed, so that one whose record is lost is known again; and what they
    live, if that is too short for the sweeps, so that it can be said before the next one is there.
    """
    cluster, name, issuer = attempt.cluster, resolved.name, resolved.issuer
    directory, profile, now = directory_of(issuer), resolved.settings.profile, attempt.clock()
    start, end = validity
    try:
        state = attempt.issuer_state or load_state(cluster, name, directory)
        attempt.issuer_state = state
        note_signers(cluster, name, directory, chain_pem, known=state.signers, now=now)
        short = type_of(issuer).has_account and too_short(end - start, state.interval, left=end - now)
        seen = min(end - start, end - now) if short else None
        if state.with_life(issuer, profile, seen):
            change_state(cluster, name, directory, lambda s: s.with_life(issuer, profile, seen))
    except KubeError as problem:  # the next attempt does it
        attempt.step("signers-not-noted", problem=str(problem))


def _directories(
    directory: str, issuer: Issuer, names: set[str], issuers: Callable[[str], Issuer | None]
) -> Iterator[str]:
    """Those whose certificates are as good: the issuer's first, as nothing else has to be read for it."""
    yield directory
    every = [issuer, *filter(None, map(issuers, sorted(names)))]
    fallbacks = sorted({each.fallback.issuer for each in every if each.fallback is not None} - names)
    yield from map(directory_of, (*every, *filter(None, map(issuers, fallbacks))))


def _same(one: str, other: str) -> bool:
    """Whether two directories are one CA's: spelling is no other server."""
    return one == other or _spelt(one) == _spelt(other)


def _spelt(directory: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(directory)
        port = "" if parts.port in {None, 443} else f":{parts.port}"
    except ValueError:
        return "", "", directory
    return f"{parts.hostname or ''}{port}", parts.path.rstrip("/"), parts.query


@cache
def public_roots() -> bytes:
    """The roots (PEM) that public clients trust."""
    import certifi  # no attempt but one that finds a certificate needs them

    return Path(certifi.where()).read_bytes()
