"""Issuers that need no order: `selfsigned`, and `ca` with the operator's own key pair. One Job all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from certs.errors import CertError
from certs.keys import KeyAlgorithm, generate_key
from certs.leaf import PrivateAuthority
from certs.signing import read_authority, self_sign, sign
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.attempt.findings import CheckReason, Finding, MountedIssuer
from issuer_job.issue.obtaining.registry import Obtained, accepted, not_revocable
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.issuers.types import directory_of, lifetime_of
from issuer_job.record import transitions
from issuer_job.record.record import Problem

CA_CERTIFICATE = "tls.crt"
CA_KEY = "tls.key"


class SelfSigned:
    """Each certificate is signed with its own key."""

    def obtain(self, attempt: Attempt, resolved: Resolved, solvers: AttemptSolvers) -> Obtained:
        return _signed(attempt, resolved, lambda: None)

    def revoke(self, mounted: MountedIssuer, certificate_der: bytes, *, reason: int) -> bool:
        raise not_revocable(mounted.name, "each certificate is signed with its own key")

    def examine(self, mounted: MountedIssuer) -> Iterator[Finding]:
        return iter(())


class OwnAuthority:
    """Certificates are signed with the CA key pair in the issuer's credentials."""

    def obtain(self, attempt: Attempt, resolved: Resolved, solvers: AttemptSolvers) -> Obtained:
        mounted = MountedIssuer(attempt, resolved.name, resolved.issuer)
        return _signed(attempt, resolved, lambda: _authority(mounted))

    def revoke(self, mounted: MountedIssuer, certificate_der: bytes, *, reason: int) -> bool:
        raise not_revocable(mounted.name, "its certificates are signed with a CA key pair of your own")

    def examine(self, mounted: MountedIssuer) -> Iterator[Finding]:
        try:
            authority = _authority(mounted)
        except CertError as problem:
            yield Finding(reason=CheckReason.AUTHORITY, message=str(problem), path="$.type")
            return
        lifetime = mounted.issuer.wanted_lifetime
        if lifetime is not None and mounted.now + lifetime > authority.not_after:
            what = f"the CA itself ends at {authority.not_after:%Y-%m-%d %H:%M} UTC: certificates cannot live longer"
            yield Finding(reason=CheckReason.AUTHORITY, message=what, path="$.lifetime", warning=True)


def _signed(attempt: Attempt, resolved: Resolved, read: Callable[[], PrivateAuthority | None]) -> Obtained:
    """A new key and a certificate for it, from the CA that is read, if any. Raises Later if that cannot sign."""
    attempt.advance(transitions.signing, directory=directory_of(resolved.issuer))
    hosts, lifetime = attempt.record.intent.hosts, lifetime_of(resolved.issuer)
    key = generate_key(KeyAlgorithm(resolved.settings.key_algorithm))
    try:
        authority = read()
        make = self_sign if authority is None else partial(sign, authority)
        made = make(hosts, key=key, now=attempt.clock(), lifetime=lifetime)
        return accepted(attempt, key, made.cert_chain_pems, hosts)
    except CertError as problem:
        detail = f"issuer {resolved.name}: {problem}"
        raise Later(Problem(type="brokenIssuer", detail=detail, step="sign")) from None


def _authority(mounted: MountedIssuer) -> PrivateAuthority:
    """The CA in the issuer's credentials. Raises CertError, which names their Secret."""
    certificate, key = mounted.credential(CA_CERTIFICATE), mounted.credential(CA_KEY)
    if certificate is None or key is None:
        missing = [name for name, found in ((CA_CERTIFICATE, certificate), (CA_KEY, key)) if found is None]
        hint = "" if mounted.keys else ": it is not there or is empty"
        raise CertError(f"{mounted.secret} has no key {' and no key '.join(missing)}{hint}")
    try:
        return read_authority(certificate, key, now=mounted.now)
    except CertError as problem:
        raise CertError(f"{problem} ({mounted.secret})") from None
