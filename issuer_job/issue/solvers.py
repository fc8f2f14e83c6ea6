"""The solvers of one attempt by the type of challenge: the only module that calls one by its name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.solver import ChallengeSolver, HostChallenge
from issuer_job.background import at_once
from issuer_job.http01.solver import Http01Solver
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import ChallengeType

MakeSolver = Callable[[Attempt], ChallengeSolver]


def _dns01(attempt: Attempt) -> ChallengeSolver:
    from issuer_job.dns01.solver import Dns01Solver  # an order without DNS-01 shall not wait for what this imports

    return Dns01Solver(attempt)


SOLVERS: Mapping[ChallengeType, MakeSolver] = {ChallengeType.HTTP_01: Http01Solver, ChallengeType.DNS_01: _dns01}


@dataclass
class AttemptSolvers:
    """What proves an attempt's hosts. Each solver that may have presented something is released, whatever happened.

    HTTP-01's is one of them from the beginning: an attempt's routes are made when it is launched.
    """

    attempt: Attempt
    makers: Mapping[ChallengeType, MakeSolver]
    _issuer: Issuer | None = None
    _made: dict[ChallengeType, ChallengeSolver] = field(default_factory=dict)
    _to_release: set[ChallengeType] = field(default_factory=lambda: {ChallengeType.HTTP_01})

    def use(self, issuer: Issuer) -> None:
        """Whether or not this pod will present anything: an earlier one may have, and ended without a word."""
        self._issuer = issuer
        pairs = [(host, source.ingress_class) for source in self.attempt.record.sources for host in source.hosts]
        chosen = (issuer.solver(host, ingress_class.name) for host, ingress_class in pairs)
        self._to_release |= {solver.challenge_type for solver in chosen if solver is not None}

    def present(self, challenges: Iterable[HostChallenge], issuer: Issuer) -> None:
        """Have all in place before this returns; each type takes a while, so at once. Raises Later, KubeError."""
        by_type: dict[ChallengeType, list[HostChallenge]] = defaultdict(list)
        for challenge in challenges:
            by_type[challenge.solver.challenge_type].append(challenge)
        self._to_release |= by_type.keys()

        def solve(kind: ChallengeType) -> None:
            solver = self._solver(kind)
            solver.present(by_type[kind], issuer)
            solver.wait(by_type[kind])

        at_once(solve, [kind for kind in self.makers if kind in by_type])

    def release(self, *, at_end: bool = False) -> None:
        """No order of this attempt follows: whoever waits for a place gets it back.

        Not before: ingress controllers gather changes, and would apply the moment without a route when the next order
        has its own already.
        `at_end`: this pod is through with the attempt, however it ended. What fails is left to the sweep and to Jobs
        of the issuer: no certificate is to be lost over it.
        """
        for kind in sorted(self._to_release):
            try:
                solver = self._solver(kind)
                if solver.slow_release is at_end:
                    solver.release(self._issuer)
                    self._to_release.remove(kind)
            except Exception as problem:  # noqa: BLE001 - whatever it is
                text = f"{type(problem).__name__}: {problem}"[:300]
                self.attempt.step("release-failed", challenge=kind, problem=text)

    def _solver(self, kind: ChallengeType) -> ChallengeSolver:
        if kind not in self._made:
            self._made[kind] = self.makers[kind](self.attempt)
        return self._made[kind]
