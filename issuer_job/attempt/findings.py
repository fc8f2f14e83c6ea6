"""An issuer in a pod that has its credentials mounted, and what its own Job finds wrong with it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import Finding as Finding  # handed on: what is kept of a test
from issuer_job.issuers.state import IssuerState, load_state, write_state
from issuer_job.issuers.types import directory_of
from issuer_job.record.record import Problem


class CheckReason(StrEnum):
    """Why an issuer is not ready, or may be not what was meant. A type of issuer may have others of its own."""

    BROKEN = "Broken"
    BUNDLE = "BundleUnreadable"
    EAB = "ExternalAccountKey"
    EXISTING_KEY = "ExistingAccountKey"
    DNS = "DnsProvider"
    SOLVERS = "Solvers"
    FALLBACK = "Fallback"
    ROUTES = "RouteNotAllowed"
    AUTHORITY = "AuthorityUnusable"
    UNREACHABLE = "DirectoryUnreachable"
    EAB_NEEDED = "ExternalAccountNeeded"
    EAB_REFUSED = "ExternalAccountRefused"
    TERMS = "TermsNotAccepted"
    CONTACT = "ContactRefused"
    ACCOUNT = "AccountUnusable"
    PROFILE = "ProfileNotOffered"
    LIFE = "ShortLived"
    ROLLOVER = "RolloverFailed"
    RESET = "AccountNotReset"
    REFUSED = "WriteRefused"


@dataclass(frozen=True)
class MountedIssuer:
    """An issuer in the pod that has its credentials mounted. `annotations` are those of its ConfigMap."""

    attempt: Attempt
    name: str
    issuer: Issuer
    annotations: Mapping[str, str] = field(default_factory=dict)
    _read: list[IssuerState] = field(default_factory=list)

    @property
    def keys(self) -> frozenset[str]:
        """Names of the keys in the issuer's credentials; a Secret volume also has hidden entries of the kubelet's."""
        directory = self.attempt.mounts / "credentials"
        if not directory.is_dir():
            return frozenset()
        return frozenset(entry.name for entry in directory.iterdir() if not entry.name.startswith(".."))

    @property
    def now(self) -> datetime:
        return self.attempt.clock()

    @property
    def state(self) -> IssuerState:
        """What is known of it now. Raises KubeError."""
        self._read[:] = [load_state(self.attempt.cluster, self.name, directory_of(self.issuer))]
        self.attempt.issuer_state = self._read[0]
        return self._read[0]

    @property
    def former_state(self) -> IssuerState:
        """What was known of it when it was read last. Raises KubeError."""
        return self._read[0] if self._read else self.state

    def write(self, state: IssuerState, change: Mapping[str, str]) -> bool:
        """See `write_state`."""
        return write_state(self.attempt.cluster, state, change)

    def broken(self, detail: str, *, step: str = "account") -> Later:
        """How an attempt ends on something that the operator has to mend."""
        return Later(Problem(type="brokenIssuer", detail=detail, step=step))

    def fingerprint(self, secret: bytes) -> str:
        """Stands for the content of its credentials: another one when they are changed.

        An HMAC (RFC 2104) with a `secret` that who reads it has not: by a plain hash a password could be guessed.
        """
        seen = hmac.new(secret, b"certjob credentials", "sha256")
        for name in sorted(self.keys):
            value = self.credential(name) or b""
            seen.update(f"\n{len(name)} {name} {len(value)} ".encode() + value)
        return seen.hexdigest()[:16]

    def credential(self, key: str) -> bytes | None:
        """A key of its credentials, None if it is not there."""
        return self.attempt.mounted("credentials", key)

    @property
    def secret(self) -> str:
        """For messages: the Secret with the credentials."""
        return f"Secret {names.credentials(self.name)} in namespace {v.NAMESPACE}"

    @property
    def secret_or_none(self) -> str:
        """For messages: the same, and whether it is there at all."""
        return self.secret if self.keys else f"{self.secret}, which is not there or is empty"


def finding_line(finding: Finding) -> str:
    """One line for people."""
    kind = "warning, " if finding.warning else ""
    at = "" if f"`{finding.path}`" in finding.message or finding.path == "$" else f" - at `{finding.path}`"
    return f"{kind}{finding.reason}: {finding.message}{at}"
