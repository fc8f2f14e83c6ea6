"""The proof of one host (RFC 8555, section 7.5.1): what is answered to its challenge, and what the CA makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job.account.patience import patiently
from issuer_job.acme_client import AcmeClient, AcmeError, AcmeProblem, AcmeUnavailable, Authorization, Challenge
from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.solver import HostChallenge
from issuer_job.issuers.schema import Issuer

LOOK_AGAIN = timedelta(seconds=10)
"""From one answer to a challenge to the next, if the CA's look has failed and the challenge is still pending."""
MOST_ANSWERS = 6
"""To one challenge in one try: a host that becomes right within a minute is seen, then its owner is told."""


class AuthorizationFailed(Exception):
    """The CA could not validate a host, and says why."""

    def __init__(self, problem: AcmeProblem, host: str) -> None:
        super().__init__(f"{host}: {problem}")
        self.problem = problem
        self.host = host


class Dead(AuthorizationFailed):
    """So it was before we have told the CA anything."""


@dataclass
class Proof:
    """What proves one host: its challenge and authorization as they were last seen, and what we have said to it."""

    challenge: HostChallenge
    authorization: Authorization
    answered_at: datetime
    answers: int = 0
    given_up: bool = False

    @property
    def retry_after(self) -> timedelta | None:
        """The CA's wish for the next poll."""
        return self.authorization.retry_after

    @property
    def kind(self) -> str:
        """The challenge's type."""
        return self.challenge.solver.challenge_type

    @property
    def seen(self) -> Challenge | None:
        """The challenge as the CA shows it."""
        return self.authorization.challenge(self.kind)

    @property
    def is_open(self) -> bool:
        """Whether the CA may still decide otherwise, and we have patience."""
        return self.authorization.is_open(self.kind) and not self.given_up

    @property
    def waits_for_us(self) -> bool:
        """Whether the CA has looked, in vain, and looks again only if it is told to (RFC 8555, section 8.2)."""
        return self.is_open and self.seen is not None and self.seen.status == "pending" and bool(self.seen.error)

    @property
    def problem(self) -> AcmeProblem | None:
        """Why the host is not proven, as far as the CA has said so."""
        return self.authorization.problem_with(self.kind)


def proof_of(attempt: Attempt, client: AcmeClient, authorization: Authorization, issuer: Issuer) -> Proof:
    """By the solver that the issuer has for the host in its Ingress class. Raises AuthorizationFailed, Dead."""
    host = authorization.name
    classes = [source.ingress_class.name for source in attempt.record.sources if host in source.hosts]
    ingress_class = classes[0] if classes else None
    solver = issuer.solver(host, ingress_class)
    if solver is None:
        detail = f"the issuer has no solver for {host}: add one to its solvers" + (
            ", with dns01" if authorization.wildcard else ""
        )
        raise AuthorizationFailed(AcmeProblem("unsupportedChallenge", detail), host)
    kind = solver.challenge_type
    challenge = authorization.challenge(kind)
    if challenge is None:
        raise Dead(AcmeProblem("unsupportedChallenge", f"the CA offers no {kind} challenge for this host"), host)
    if not authorization.is_open(kind) and (problem := authorization.problem_with(kind)) is not None:
        raise Dead(problem, host)
    key_authorization = client.key_authorization(challenge.token)
    presented = HostChallenge(host, challenge.token, key_authorization, solver, ingress_class)
    return Proof(presented, authorization, answered_at=attempt.clock())


def tell(attempt: Attempt, client: AcmeClient, proof: Proof) -> None:
    """Tell the CA to look at one challenge. Without an answer it may be looking already: ask before telling again."""
    told = False

    def ask() -> None:
        nonlocal told
        if told:
            proof.authorization = client.authorization(proof.authorization.url)
        told = True
        challenge = proof.seen
        if proof.authorization.is_final or challenge is None or challenge.status != "pending":
            return
        try:
            client.answer(challenge)
        except AcmeUnavailable:
            raise
        except AcmeError:
            # Another pod or record with this order was faster, and some CAs refuse to be told twice.
            proof.authorization = client.authorization(proof.authorization.url)
            if proof.is_open and (proof.seen is None or proof.seen.status == "pending"):
                raise

    patiently(attempt, ask)
    proof.answers, proof.answered_at = proof.answers + 1, attempt.clock()


def look_again(attempt: Attempt, client: AcmeClient, proof: Proof) -> Proof:
    """The proof as the CA sees it now. A look that failed is asked for again, for a minute."""
    proof.authorization = patiently(attempt, lambda: client.authorization(proof.authorization.url))
    if proof.waits_for_us and attempt.clock() - proof.answered_at >= LOOK_AGAIN:
        if proof.answers >= MOST_ANSWERS:
            proof.given_up = True
            return proof
        attempt.step("look-asked-again", host=proof.challenge.host, problem=str(proof.problem))
        try:
            tell(attempt, client, proof)
        except AcmeUnavailable:
            raise
        except AcmeError:  # it does not want to be told twice: what it has found stands
            proof.given_up = True
    return proof
