"""What waits for an issuer's own Job, as only Jobs have the issuer's credentials: certificates to be revoked, and TXT
records that were left in DNS.
"""

from __future__ import annotations

from datetime import timedelta

from issuer_job import vocabulary as v
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.checks.revocation import revoke_all
from issuer_job.cluster.api import KubeError
from issuer_job.issue.solvers import SOLVERS
from issuer_job.issuers.state import CLEANED_EPOCH, CLEANING_EPOCH, note_in_state
from issuer_job.issuers.types import directory_of

RESERVE = timedelta(seconds=20)
"""Of the pod's time: for crossing out what is gone."""


def is_clearing(mounted: MountedIssuer) -> bool:
    """Whether this is all that the Job was launched for. Raises KubeError."""
    return mounted.state.data.get(CLEANING_EPOCH) == str(mounted.attempt.pod.epoch)


def only_clear(mounted: MountedIssuer) -> v.ExitCode:
    """Test nothing, and leave the outcome of the last test as it is. Raises OtherPod, KubeError."""
    if clear(mounted):
        done = {CLEANED_EPOCH: str(mounted.attempt.pod.epoch)}
        note_in_state(mounted.attempt.cluster, mounted.name, directory_of(mounted.issuer), done)
    return v.ExitCode.DONE


def clear(mounted: MountedIssuer) -> int:
    """Do what waits, within the pod's time; how much of it. What cannot be done now is left to the next Job.

    Raises OtherPod, KubeError.
    """
    return revoke_all(mounted) + clean_dns(mounted)


def clean_dns(mounted: MountedIssuer) -> int:
    """Remove what is left, within the pod's time; how many. Trouble is logged: the next Job goes on."""
    attempt = mounted.attempt
    until = attempt.deadline - RESERVE
    try:
        solvers = [make(attempt) for make in SOLVERS.values()]
        removed = sum(solver.leftovers(mounted.issuer, mounted.name, deadline=until) for solver in solvers)
    except KubeError as problem:
        attempt.step("txt-records-put-off", problem=str(problem))
        return 0
    if removed:
        attempt.step("txt-records-removed", count=removed)
    return removed
