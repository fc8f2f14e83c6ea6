"""The published form of the overview, beside those of `issuer_job.status.document`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from issuer_job.status.issuer_status import IssuerStatus
from issuer_job.status.shown import CertificateStatus, Shown


class ProblemGroup(Shown, frozen=True):
    """Certificates with one type of problem, `count` in all; `items` are the most urgent of them."""

    type: str
    means: str
    do: str
    docs: str
    count: int
    not_ready: int
    items: tuple[CertificateStatus, ...]


class Due(Shown, frozen=True):
    """How many are to be renewed within that time, and of how many ends within it what is issued."""

    within: str
    renewals: int
    ends: int


class LastSweep(Shown, frozen=True):
    """What the last sweep said at its end, None or empty where it is not known. `interval` and `seconds` are such.

    `stale`: none has succeeded for four intervals. `problem` is the type of what it ended on.
    """

    succeeded_at: datetime | None
    interval: float
    stale: bool
    ended_at: datetime | None
    seconds: float
    exit_code: int | None
    problem: str
    trouble: int
    counts: dict[str, int]


class Overview(Shown, frozen=True, kw_only=True):
    """`heard_at`: when all of this was known to be so. `unknown`: how many cannot be read, so that nobody knows
    whether they are ready. Those that nobody asks for any more are `gone`, and counted nowhere else.
    """

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: Literal["Overview"] = "Overview"
    at: datetime
    heard_at: datetime
    certificates: int
    ready: int
    not_ready: int
    unknown: int
    gone: int
    under_way: int
    problems: tuple[ProblemGroup, ...]
    due: tuple[Due, ...]
    issuers: tuple[IssuerStatus, ...]
    last_sweep: LastSweep
