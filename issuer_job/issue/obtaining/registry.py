"""The contract of what obtains certificates, and who fulfils it: one entry for each of `issuers.types`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from certs.chain import IssuedCertificate, check_issued
from certs.keys import PrivateKey, key_to_pem
from issuer_job.attempt.attempt import Attempt, Permanent, Resolved
from issuer_job.attempt.findings import Finding, MountedIssuer
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Problem


@dataclass(frozen=True)
class Obtained:
    """A certificate that passed every check, and the key it is for, which never shows in a repr."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    certificate: IssuedCertificate


class Obtaining(Protocol):
    """What one type of issuer does. An instance knows nothing of its own: whatever pod has it is as good."""

    def obtain(self, attempt: Attempt, resolved: Resolved, solvers: AttemptSolvers) -> Obtained:
        """A certificate for the hosts of the attempt's intent.

        It MUST bring the record out of `Claimed`, writing down each effect before it has it, so that another pod
        can take it up at any point; what it returns MUST come from `accepted`. It MUST end by the attempt's
        deadline. A type that proves hosts presents through `solvers` alone.
        Raises Later, Permanent, OtherPod, Superseded, KubeError.
        """

    def revoke(self, mounted: MountedIssuer, certificate_der: bytes, *, reason: int) -> bool:
        """Have a certificate (DER) revoked, with a code of RFC 5280, section 5.3.1; False if it was before.

        It runs in the issuer's own Job, and may come again after a crash.
        Raises Permanent if that cannot be done, Later, OtherPod, KubeError.
        """

    def examine(self, mounted: MountedIssuer) -> Iterator[Finding]:
        """What keeps certificates from being obtained, as far as it shows without asking for one.

        It runs in the issuer's own Job, after the questions that are asked of every type. It MUST end by the
        attempt's deadline, and no finding may hold a secret. Raises Later if another Job has to do it, OtherPod,
        KubeError.
        """


def _acme() -> Obtaining:
    from issuer_job.issue.obtaining.acme import Acme

    return Acme()


def _self_signed() -> Obtaining:
    from issuer_job.issue.obtaining.sign import SelfSigned

    return SelfSigned()


def _ca() -> Obtaining:
    from issuer_job.issue.obtaining.sign import OwnAuthority

    return OwnAuthority()


OBTAINING: dict[str, Callable[[], Obtaining]] = {"acme": _acme, "selfsigned": _self_signed, "ca": _ca}
"""By the name of the type. Imported when it is used: a Job waits for what its own issuer needs, and no other."""


def obtaining_of(issuer: Issuer) -> Obtaining:
    """What obtains the issuer's certificates."""
    return OBTAINING[issuer.type]()


def not_revocable(name: str, what: str) -> Permanent:
    """How it ends where nobody can revoke: `what` has signed the certificates of the issuer of that name."""
    detail = f"issuer {name}: {what}, and nobody publishes what is revoked: whoever trusts it does so until it ends"
    return Permanent(Problem(type="notRevocable", detail=detail, step="revokeCert"))


def accepted(attempt: Attempt, key: PrivateKey, chain_pem: bytes, hosts: Collection[str]) -> Obtained:
    """What an issuer answered with, checked before anything is made of it. Raises CertError, see `check_issued`."""
    certificate = check_issued(chain_pem, key=key, hosts=hosts, now=attempt.clock())
    attempt.step(
        "certificate",
        serial=certificate.serial,
        not_after=certificate.not_after.isoformat(),
        signed_by=certificate.issuer_name,
    )
    return Obtained(key_to_pem(key), chain_pem, certificate)
