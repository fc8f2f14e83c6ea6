"""The contract of what solves challenges (RFC 8555, section 8), and what it is asked to solve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import DEFAULT_SOLVER, Solver


@dataclass(frozen=True)
class HostChallenge:
    """What a host (with its `*.`) is proven by: a token and its key authorization (RFC 8555, section 8.1).

    `solver` is what the issuer has configured for the host in its Ingress class.
    """

    host: str
    token: str = field(repr=False)
    key_authorization: str = field(repr=False)
    solver: Solver = DEFAULT_SOLVER
    ingress_class: str | None = None


class ChallengeSolver(Protocol):
    """Solves the challenges of one type for one attempt. Solvers of several types may work at the same time.

    What one does for a challenge, an earlier pod of the attempt may have done before, and another record's attempt
    may be doing for the same host: each method MUST work all the same, and leave to others what is theirs.
    """

    @property
    def slow_release(self) -> bool:
        """Whether `release` takes longer than a certificate should wait: it is put off until the pod is through.

        Such a release MUST find out by itself what another pod or attempt needs, since the pod may have lost the
        attempt. Any other is called only by a pod that ends the attempt, or has its certificate.
        """

    def present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> None:
        """Put into its place what the CA will look for, of all challenges of this type in the order.

        It MUST leave a trace first by which `release`, and without it `leftovers` or the sweep, find what it is
        about to make. It MUST be in place when this returns, though perhaps not everywhere to be seen. It MUST end
        by the attempt's deadline. Raises Later, KubeError.
        """

    def wait(self, challenges: Sequence[HostChallenge]) -> None:
        """Return once the CA can be expected to see what was presented.

        It MUST be bounded, and leave of the attempt's time what the CA and the Secret need. It SHOULD NOT raise
        because something cannot be seen from here: the CA may see it.
        """

    def release(self, issuer: Issuer | None) -> None:
        """Take away what this attempt and earlier ones of its record presented: no CA will look for it any more.

        It MUST do so although nothing, or half of it, was presented, whatever became of the order, and whatever
        `issuer` says by now (None: it was not read). Where that fails it MUST leave the trace. Raises KubeError.
        """

    def leftovers(self, issuer: Issuer, name: str, *, deadline: datetime) -> int:
        """Take away what ended attempts have left and only this issuer's Jobs have the credentials for; how many.

        It MUST NOT touch what an attempt at work needs, and begin nothing after the deadline. Raises KubeError.
        """
