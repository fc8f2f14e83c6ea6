"""placeholder"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from issuer_job.cli.base.session import Session
from issuer_job.status.document import Evidence
from issuer_job.status.status import CertificateStatus


@dataclass
class ObjectSight:
    """See `sight.Sight`."""

    session: Session
    evidence: Evidence = Evidence.OBJECTS

    def every(self) -> Iterator[CertificateStatus]:
        """See Sight."""
        return iter(())

    def one(self, secret_name: str) -> CertificateStatus | None:
        """See Sight."""
        return None

    def changes(self, *, seconds: int) -> Iterator[CertificateStatus | None]:
        """See Sight."""
        return iter(())
