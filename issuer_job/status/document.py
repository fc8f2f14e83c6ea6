"""The published form of what is shown: JSON documents of `certjob.io/v1`, whose schema is docs/status.schema.json."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from issuer_job.status.issuer_status import IssuerStatus
from issuer_job.status.shown import CertificateStatus, Evidence, Shown


class CertificateStatusList(Shown, frozen=True, kw_only=True):
    """Certificates, as they were `at` that time."""

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: Literal["CertificateStatusList"] = "CertificateStatusList"
    at: datetime
    evidence: Evidence = Evidence.RECORDS
    items: tuple[CertificateStatus, ...]


class IssuerStatusList(Shown, frozen=True, kw_only=True):
    """Issuers, as they were `at` that time."""

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: Literal["IssuerStatusList"] = "IssuerStatusList"
    at: datetime
    evidence: Evidence = Evidence.RECORDS
    items: tuple[IssuerStatus, ...]
