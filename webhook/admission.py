"""One admission from bytes to bytes: parse, decide, launch, answer within the time there is, log one line.

Whatever goes wrong, what the sweep finds again is admitted, at worst with a warning; the rest is refused, to be tried
again. A launch that is slow goes on after the answer; what it leaves undone is the sweep's work.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock
from typing import Protocol

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import KubeError
from issuer_job.demand.common import annotations_of
from issuer_job.launch.outcome import SecretLoss
from issuer_job.polling import utc_now
from webhook.bounded_calls import (
    BUDGET,
    LATER,
    Calls,
    CanLaunch,
    Foresees,
    KnowsIssuers,
    Launched,
    allowed,
)
from webhook.bounded_log import BoundedLog
from webhook.fair_pool import MAX_OUTSTANDING, Busy
from webhook.metrics import WebhookMetrics
from webhook.policy import AdmissionPolicy, AdmissionReason, Decision, untouched
from webhook.review import Review, answer, denial, parse


class HearsLosses(Protocol):
    """What `webhook.losses.Losses` does."""

    def heard(self, namespace: str, secret_name: str, loss: SecretLoss) -> None:
        """The Secret is about to be lost. Returns at once, and raises nothing."""


_MAX_LOGGED = 253
_FORBIDDEN, _INTERNAL_ERROR, _UNAVAILABLE = 403, 500, 503


class Admission:
    """Answers reviews. One per process; thread-safe."""

    def __init__(
        self,
        launcher: CanLaunch,
        foresight: Foresees,
        settings: KnowsIssuers,
        losses: HearsLosses,
        metrics: WebhookMetrics,
        *,
        budget: float = BUDGET,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._calls = Calls(launcher, foresight, settings, max_outstanding=max_outstanding)
        self._losses = losses
        self._metrics = metrics
        self._budget = budget
        self._log = BoundedLog()
        # One at a time, as the interpreter does it anyway: what one takes at its highest point is there only once.
        self._parsing = Lock()

    def admit(self, body: bytes, policy: AdmissionPolicy, *, timeout: str = "", started: float) -> bytes:
        """Answer one review. Raises BadRequest if the body is none.

        `timeout` is what the API server says it waits, in Go's notation ("5s"); `started` is the
        time.monotonic() value at which the request came in.
        """
        with self._parsing:
            review = parse(body, kind=policy.kind, shape=policy.shape, reduce=policy.reduced)
        deadline = started + min(self._budget, allowed(timeout))
        decision: Decision | None = None
        launched = Launched()
        try:
            aliased = policy.aliased(review)
            if aliased is not review and self._calls.reads_aliases(deadline):
                review = aliased
            decision = untouched(review, policy) or self._decided(review, policy, deadline)
            launched = self._calls.launch(decision, review, deadline)
            if decision.lost is not None:
                self._losses.heard(review.namespace or "", *decision.lost)
            foreseen = self._calls.foresee(decision, review, deadline)
            reason, reply = _answered(review, decision, launched, foreseen)
        except (KubeError, TimeoutError, Busy) as problem:
            reason = AdmissionReason.ISSUERS_UNKNOWN
            about = review.namespace or ""
            self._log.say(log.warning, "issuers-unknown", about=about, uid=review.uid, problem=str(problem)[:200])
            if policy.refuses:
                said = "the issuers cannot be read now: try again in a moment"
                reply = denial(review.uid, code=_UNAVAILABLE, message=said)
            else:
                said = f"the issuers cannot be read now: {LATER}"
                reply = answer(review.uid, patch=policy.kept(review), warnings=[said])
        except Exception as problem:  # noqa: BLE001 - the one edge: a bug must not keep what was written from being stored
            reason = AdmissionReason.INTERNAL_ERROR
            say, about = log.error if policy.refuses else log.exception, review.namespace or ""
            self._log.say(say, "internal-error", about=about, uid=review.uid, problem=type(problem).__name__)
            if policy.refuses:
                said = "an internal error, see the webhook's log"
                reply = denial(review.uid, code=_INTERNAL_ERROR, message=said)
            else:
                said = f"an internal error, see the webhook's log: {LATER}"
                patch = decision.patch if decision else ()  # only admission can add spec.tls
                reply = answer(review.uid, patch=patch, warnings=[said])
        self._metrics.answered(reason, launched.words)
        _log(self._log, review, reason, started, decision, launched.words)
        return reply

    def _decided(self, review: Review, policy: AdmissionPolicy, deadline: float) -> Decision:
        issuers = self._calls.issuers(deadline)
        if (annotations_of(review.asker).get(v.ISSUER) or issuers.default) not in issuers.valid:
            # It may have been made or repaired since they were read.
            issuers = self._calls.issuers(deadline, fresh=True)
        return policy.decide(review, issuers=issuers, now=utc_now())


def _answered(
    review: Review, decision: Decision, launched: Launched, foreseen: Sequence[str]
) -> tuple[AdmissionReason, bytes]:
    if decision.refused:
        return decision.reason, denial(review.uid, code=_FORBIDDEN, message=decision.refused)
    if decision.first and launched.unsure:
        message = f"its order cannot be written down just now, try again later: {launched.unsure}"
        return AdmissionReason.NOT_WRITTEN_DOWN, denial(review.uid, code=_UNAVAILABLE, message=message)
    warnings = (*decision.warnings, *launched.warnings, *foreseen)
    return decision.reason, answer(review.uid, patch=decision.patch, warnings=warnings)


def _log(
    lines: BoundedLog,
    review: Review,
    reason: str,
    started: float,
    decision: Decision | None,
    outcomes: Sequence[str],
) -> None:
    metadata = (review.object or {}).get("metadata") or {}
    name = review.name or metadata.get("name") or metadata.get("generateName") or ""
    lines.info(
        "admission",
        about=review.namespace or "",
        uid=review.uid,
        namespace=(review.namespace or "")[:_MAX_LOGGED],
        name=str(name)[:_MAX_LOGGED],
        operation=review.operation[:_MAX_LOGGED],
        reason=reason,
        milliseconds=round((time.monotonic() - started) * 1000, 1),
        entries=len(outcomes),
        outcomes=list(outcomes),
        patched=bool(decision and decision.patch),
        dryRun=bool(review.dry_run),
    )
