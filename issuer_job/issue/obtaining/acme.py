"""Type `acme`: one order from the issuer's account. A CA that does not answer gets a few tries within the Job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from certs.hostnames import first_few
from issuer_job.account import account
from issuer_job.account.patience import PAUSES, worth_a_wait
from issuer_job.account.replacement import block, drop_url, forget_dead, is_dead
from issuer_job.acme_client import AcmeError, AcmeUnavailable, CaSilent, ExternalAccountRefused
from issuer_job.attempt.attempt import Attempt, Later, Permanent, Resolved
from issuer_job.attempt.findings import Finding, MountedIssuer
from issuer_job.issue.obtaining.proof import AuthorizationFailed
from issuer_job.issue.obtaining.registry import Obtained
from issuer_job.issue.order import Before, Ordering
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.record import transitions
from issuer_job.record.record import Problem

ABOUT_HOSTS = frozenset({"rejectedIdentifier", "unsupportedIdentifier", "caa"})
"""Types of problems that some host of the order has, whether the CA says which or not."""
OF_ONE_ORDER = frozenset({"order", "authorization", "challenge", "finalize", "certificate"})
"""Steps that ask for something of an order that was made."""
EXTERNAL_ACCOUNT = "externalAccountRequired"
"""Whatever the CA calls it: what is wrong is the binding."""


class Acme:
    """See RFC 8555."""

    def obtain(self, attempt: Attempt, resolved: Resolved, solvers: AttemptSolvers) -> Obtained:
        """See Obtaining. Each try takes up the same order."""
        mounted, pauses = MountedIssuer(attempt, resolved.name, resolved.issuer), iter(PAUSES)
        before = Before(lost=transitions.attempt_of(attempt.record).ordered)
        while True:
            try:
                with account.connected(mounted) as client:
                    return Ordering(mounted, resolved, client, solvers, before).complete()
            except AuthorizationFailed as failed:
                refusal = AcmeError(failed.problem, step="authorization")
                raise _stop(refusal, host=failed.host, advice=attempt.advice.get(failed.host, "")) from None
            except AcmeError as error:
                pause = next(pauses, None)
                if pause is None or not _passes_soon(mounted, error, pause):
                    inherited = transitions.attempt_of(attempt.record).order_url not in before.made
                    if _is_hopeless(error, inherited=inherited):
                        attempt.advance(transitions.order_dropped, reason=str(error.problem))
                    raise _refused(mounted, error) from None

    def revoke(self, mounted: MountedIssuer, certificate_der: bytes, *, reason: int) -> bool:
        try:
            with account.connected(mounted) as client:
                return client.revoke(certificate_der, reason=reason)
        except AcmeError as error:
            problem = Problem(type=error.problem.type, detail=error.problem.detail, step=error.step)
            # What passes, or an operator mends: a lost account, a limit, all that is no word of the CA about it.
            passes = isinstance(error, AcmeUnavailable) or error.is_rate_limited or error.step != "revokeCert"
            lost = error.problem.type == "accountDoesNotExist"
            if lost:
                drop_url(mounted, mounted.state, mounted.state.account_url)
            raise (Later(problem, wait=error.retry_after) if passes or lost else Permanent(problem)) from None

    def examine(self, mounted: MountedIssuer) -> Iterator[Finding]:
        from issuer_job.account.examination import examine_account  # an order asks none of this

        return examine_account(mounted)


def _passes_soon(mounted: MountedIssuer, error: AcmeError, pause: float) -> bool:
    """Whether it is worth going on within this Job; waits if so."""
    if is_dead(error):
        # Once: the same again, of an account that newAccount has just shown, is about something else.
        used = transitions.attempt_of(mounted.attempt.record).account
        return pause == PAUSES[0] and forget_dead(mounted, error, used=used)
    # Each newOrder that the CA has answered with 2xx has made an order, even if nobody can read which.
    made = error.step == "newOrder" and 200 <= error.problem.status < 300
    return isinstance(error, AcmeUnavailable) and not made and worth_a_wait(mounted.attempt, error, pause)


def _is_hopeless(error: AcmeError, *, inherited: bool) -> bool:
    """Whether the same order would bring the same again, for as long as the CA keeps it: if what it gives is no
    certificate, or if an attempt before had this order, too. Not if nobody answered, or the CA asks to wait.
    """
    wait = isinstance(error, CaSilent) or error.is_rate_limited or error.retry_after is not None
    useless = error.step == "certificate" and 200 <= error.problem.status < 300
    return error.step in OF_ONE_ORDER and not wait and (inherited or useless)


def _refused(mounted: MountedIssuer, error: AcmeError) -> Later | Permanent:
    if error.step == "newAccount" and (error.is_rate_limited or error.problem.type == "userActionRequired"):
        block(mounted, wait=error.retry_after or timedelta(hours=1), reason=str(error.problem))
    named = (error.problem.identifier, *(part.identifier for part in error.problem.subproblems))
    host, hosts = next(filter(None, named), ""), mounted.attempt.record.intent.identifiers
    if host or error.problem.type not in ABOUT_HOSTS:
        return _stop(error, host=host, advice=_advice(mounted, error))
    return _stop(error, host=hosts[0] if len(hosts) == 1 else "", of=f" (one of {first_few(hosts)})")


def _advice(mounted: MountedIssuer, error: AcmeError) -> str:
    """What may be behind an internal error at finalize: some CAs look at notAfter only there, and do not say so."""
    internal = error.problem.status >= 500 or error.problem.type == "serverInternal"
    asked = mounted.issuer.lifetime if error.step == "finalize" and internal else ""
    return f"the issuer asks for lifetime {asked}: does the CA allow it?" if asked else ""


def _stop(error: AcmeError, *, host: str, advice: str = "", of: str = "") -> Later | Permanent:
    step = "" if error.step == "authorization" and host else f"{error.step}: "
    detail = f"{step}{error.problem.words}{'' if host else of}"
    detail = f"{detail[:500]}; {advice}" if advice else detail
    kind = EXTERNAL_ACCOUNT if isinstance(error, ExternalAccountRefused) else error.problem.type
    problem = Problem(type=kind, detail=detail, host=host, step=error.step)
    if error.is_permanent:
        return Permanent(problem)
    return Later(problem, wait=error.retry_after, by_ca=error.retry_after is not None)
