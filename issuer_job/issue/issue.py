"""The issue Job: one attempt of one record, from claim to installed certificate.

The order of the writes is what makes it resumable: each is persisted before the next effect.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from issuer_job import vocabulary as v
from issuer_job.attempt import events, vouching
from issuer_job.attempt.attempt import Attempt, Failure, HeldBack, IntentChanged, Later, NamespaceGone, Stop, Unwanted
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import SECRETS, ApiError, KubeError
from issuer_job.hosts import at_order
from issuer_job.issue import confirm, install, takeover
from issuer_job.issue.obtaining.registry import obtaining_of
from issuer_job.issue.settle import settle
from issuer_job.issue.solvers import SOLVERS, AttemptSolvers, MakeSolver
from issuer_job.issuers.solvers import ChallengeType
from issuer_job.record import transitions
from issuer_job.record.record import Issued, Phase, Problem, RecordError
from issuer_job.tenant_secrets.access import Refusal
from issuer_job.tenant_secrets.refused import refused_problem

ROUNDS = 10
"""How often an attempt begins anew because something else is wanted by now."""


def issue(attempt: Attempt, makers: Mapping[ChallengeType, MakeSolver] = SOLVERS) -> v.ExitCode:
    """Run the attempt to its end and say how it ended. Raises KubeError when the API server is lost for good."""
    solvers = AttemptSolvers(attempt, makers)
    try:
        exit_code = _ended(attempt, solvers)
        solvers.release()
        return exit_code
    except (Stop, RecordError) as stop:  # a record that cannot be read stays as it is, broken or a later certjob's
        code = stop.exit_code if isinstance(stop, Stop) else v.ExitCode.PERMANENT
        attempt.step("stopped", reason=str(stop), exit_code=int(code))
        return code
    finally:
        solvers.release(at_end=True)


def _ended(attempt: Attempt, solvers: AttemptSolvers) -> v.ExitCode:
    """Run the attempt, anew as often as something else is wanted before it has ordered. Raises as `_once` does."""
    for _ in range(ROUNDS):
        try:
            return _once(attempt, solvers)
        except IntentChanged as changed:
            attempt.step("intent-changed", reason=str(changed))
    raise Stop("what is wanted keeps changing")


def _once(attempt: Attempt, solvers: AttemptSolvers) -> v.ExitCode:
    """Run the attempt, and write down how it ended. Raises Superseded, OtherPod, Ended: it is not ours to end."""
    try:
        return _attempt(attempt, solvers)
    except Failure as failure:
        return _failed(attempt, failure)
    except HeldBack as held:
        attempt.step("held-back", reason=str(held), until=held.until.isoformat())
        version = attempt.issuer_version
        attempt.advance(transitions.held_back, problem=held.problem, until=held.until, issuer=version)
        events.tell_news(attempt, events.held_back(attempt.record, attempt.clock()))
        return held.exit_code
    except ApiError as error:
        refused = refused_problem(error, step="write")
        if refused is None:
            raise
        return _failed(attempt, Later(refused))
    except Unwanted as unwanted:
        attempt.step("unwanted", reason=str(unwanted))
        ordered = attempt.record.phase is not Phase.CLAIMED
        attempt.advance(transitions.orphaned if ordered else transitions.unconfirmed)
        at_order.give_up_hosts(attempt)
        return unwanted.exit_code
    except NamespaceGone as gone:
        attempt.step("namespace-gone", reason=str(gone))
        problem = Problem(type=str(Refusal.TERMINATING), detail=str(gone), step="look")
        wait = wait_after(transitions.failures_of(attempt.record) + 1)
        attempt.advance(transitions.orphaned, problem=problem, wait=wait)
        return gone.exit_code


def _attempt(attempt: Attempt, solvers: AttemptSolvers) -> v.ExitCode:
    attempt.load()
    attempt.claim()
    attempt.step("claimed", hosts=list(attempt.record.intent.hosts))
    attempt.require_policies()
    settle(attempt)
    resolved = confirm.resolve_issuer(attempt)
    resolved = confirm.confirm(attempt, resolved)
    attempt.step("confirmed", sources=[source.key for source in attempt.confirmed])
    at_order.hold_hosts(attempt)
    seen = install.look(attempt)
    trust = vouching.trust_in(attempt, resolved)
    issued = install.right_already(attempt, seen, trust) or takeover.taken_over(attempt, resolved, seen)
    if issued is None:
        seen = install.preflight(attempt, seen)
        obtained = obtaining_of(resolved.issuer).obtain(attempt, resolved, solvers)
        solvers.release()
        validity = obtained.certificate.not_before, obtained.certificate.not_after
        vouching.remember_issued(attempt, resolved, obtained.chain_pem, validity=validity)
        issued = install.install(attempt, obtained, seen)
    _finish(attempt, issued)
    return v.ExitCode.DONE


def _finish(attempt: Attempt, issued: Issued) -> None:
    """Tell the user, then the record; the pending key goes last."""
    pending = transitions.attempt_of(attempt.record).pending_key and attempt.record.pending_name
    hosts = ", ".join(issued.hosts)
    whose = f"from issuer {attempt.record.issuer}" if issued.directory else "that was in the Secret already"
    until = f"valid until {issued.not_after:%Y-%m-%d %H:%M} UTC"
    note = "; ".join([f"certificate for {hosts} {whose}, {until}", *attempt.notes])
    events.tell(attempt, "CertificateIssued", note)
    state = attempt.issuer_state
    interval = transitions.attempt_of(attempt.record).interval if state is None else state.interval
    for news in events.about_lives(attempt.record, issued, attempt.clock(), interval=interval):
        events.tell_news(attempt, news)
    attempt.advance(transitions.issued, issued=issued)
    attempt.step("issued", serial=issued.serial, not_after=issued.not_after.isoformat())
    if pending:
        try:
            attempt.cluster.delete(SECRETS, v.NAMESPACE, pending)
        except KubeError as problem:  # a sweep takes it away
            attempt.step("pending-key-left", problem=str(problem))


def _failed(attempt: Attempt, failure: Failure) -> v.ExitCode:
    """Write down why, tell the user; him also if it cannot be written down, which is refused like the rest then."""
    problem = failure.problem
    try:
        when = _put_off(attempt, failure)
    except ApiError as refused:
        if refused_problem(refused, step="write") is None:
            raise
        when = "it is tried again by a sweep"
        attempt.step("not-written-down", problem=str(refused))
    if not when:
        attempt.step("put-off", type=problem.type, detail=problem.detail)
        return failure.exit_code
    attempt.step("failed", type=problem.type, detail=problem.detail, host=problem.host, at=problem.step, next=when)
    events.tell_failed(attempt, problem, when)
    return failure.exit_code


def _put_off(attempt: Attempt, failure: Failure) -> str:
    """Until when, in words; none if there is nothing to be told: the next attempt has what this one lacked."""
    problem, before = failure.problem, attempt.record.retry
    if problem.type in transitions.BLAMELESS and (before is None or before.problem.type != problem.type):
        version = attempt.issuer_version
        attempt.advance(transitions.held_back, problem=problem, until=attempt.clock(), issuer=version)
        return ""
    if not isinstance(failure, Later):
        attempt.advance(transitions.failed, problem=problem, issuer=attempt.issuer_version)
    else:
        failures, limited = transitions.failures_of(attempt.record), problem.type == "rateLimited"
        jitter = random.random()  # noqa: S311 - jitter
        wait = wait_after(failures + 1, asked=failure.wait, rate_limited=limited, jitter=jitter)
        asked = limited or failure.by_ca
        attempt.advance(transitions.waiting, problem=problem, wait=wait, asked=asked, issuer=attempt.issuer_version)
    return events.when_again(attempt.record.retry)
