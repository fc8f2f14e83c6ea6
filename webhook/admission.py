"""One admission from bytes to bytes: parse, decide, launch, answer within the time there is, log one line.

Whatever goes wrong, an Ingress is admitted: at worst with a warning. A launch that is slow goes on after the
answer; what it leaves undone is the sweep's work. A Secret that asks for a certificate is refused instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from issuer_job.cluster.api import KubeError
from webhook import decide_ingress, decide_secret
from webhook.bounded_calls import BUDGET, LATER, MAX_OUTSTANDING, Busy, Calls, CanLaunch, KnowsIssuers, allowed
from webhook.decide_ingress import Decision
from webhook.ingress_patch import make_patch
from webhook.review import Review, answer, parse, refusal

logger = logging.getLogger(__name__)

_MAX_LOGGED = 253
_FORBIDDEN, _INTERNAL_ERROR, _UNAVAILABLE = 403, 500, 503


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Reply:
    """The answer's bytes, and what the log line says of it."""

    body: bytes
    reason: str


class Admission:
    """Answers reviews. One per process; thread-safe."""

    def __init__(
        self,
        launcher: CanLaunch,
        settings: KnowsIssuers,
        *,
        budget: float = BUDGET,
        max_outstanding: int = MAX_OUTSTANDING,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._calls = Calls(launcher, settings, max_outstanding=max_outstanding)
        self._budget = budget
        self._clock = clock

    def admit(self, body: bytes, *, namespace_enabled: bool, timeout: str = "", started: float) -> Reply:
        """Answer one review. Raises BadRequest if the body is none.

        `timeout` is what the API server says it waits, in Go's notation ("5s"); `started` is the
        time.monotonic() value at which the request came in.
        """
        review = parse(body)
        deadline = started + min(self._budget, allowed(timeout))
        decision: Decision | None = None
        outcomes: Sequence[str] = ()
        try:
            decision = decide_ingress.untouched(review, namespace_enabled=namespace_enabled)
            if decision is None:
                issuers = self._calls.issuers(deadline)
                if decide_ingress.names_unknown_issuer(review, issuers):
                    issuers = self._calls.issuers(deadline, fresh=True)
                decision = decide_ingress.decide(review, issuers=issuers, namespace_enabled=namespace_enabled)
            launched = self._calls.launch(decision, review, deadline)
            outcomes = launched.words
            reason = str(decision.reason)
            reply = answer(review.uid, patch=decision.patch, warnings=(*decision.warnings, *launched.warnings))
        except (KubeError, TimeoutError, Busy) as problem:
            reason = "IssuersUnknown"
            logger.warning("issuers-unknown", extra={"fields": {"uid": review.uid, "problem": str(problem)[:200]}})
            patch = make_patch(review.object or {}, decide_ingress.kept_entry(review))
            reply = answer(review.uid, patch=patch, warnings=[f"the issuers cannot be read now: {LATER}"])
        except Exception:  # the one edge: a bug must not keep a user's Ingress from being stored
            reason = "InternalError"
            logger.exception("internal-error", extra={"fields": {"uid": review.uid}})
            patch = decision.patch if decision else ()  # only admission can add spec.tls
            warning = f"an internal error, see the webhook's log: {LATER}"
            reply = answer(review.uid, patch=patch, warnings=[warning])
        _log(review, reason, started, decision, outcomes)
        return Reply(reply, reason)

    def admit_request(self, body: bytes, *, timeout: str = "", started: float) -> Reply:
        """Answer one review of a Secret that asks for a certificate. See `admit`.

        When in doubt it is refused, to be tried again: nobody would find it later, and an update might wipe a
        certificate.
        """
        review = parse(body)
        deadline = started + min(self._budget, allowed(timeout))
        decision: Decision | None = None
        outcomes: Sequence[str] = ()
        try:
            decision = decide_secret.untouched(review)
            if decision is None:
                issuers = self._calls.issuers(deadline)
                if decide_secret.names_unknown_issuer(review, issuers):
                    issuers = self._calls.issuers(deadline, fresh=True)
                decision = decide_secret.decide(review, issuers=issuers, now=self._clock())
            launched = self._calls.launch(decision, review, deadline)
            outcomes, reason = launched.words, str(decision.reason)
            warnings = (*decision.warnings, *launched.warnings)
            if decision.refused:
                reply = refusal(review.uid, code=_FORBIDDEN, message=decision.refused)
            elif decision.first and launched.unsure:
                reason = "NotWrittenDown"
                message = f"its order cannot be written down just now, try again later: {launched.unsure}"
                reply = refusal(review.uid, code=_UNAVAILABLE, message=message)
            else:
                reply = answer(review.uid, patch=decision.patch, warnings=warnings)
        except (KubeError, TimeoutError, Busy) as problem:
            reason = "IssuersUnknown"
            logger.warning("issuers-unknown", extra={"fields": {"uid": review.uid, "problem": str(problem)[:200]}})
            said = "the issuers cannot be read now: try again in a moment"
            reply = refusal(review.uid, code=_UNAVAILABLE, message=said)
        except Exception as problem:  # noqa: BLE001 - the one edge
            # No traceback: the object holds a private key.
            reason = "InternalError"
            logger.error("internal-error", extra={"fields": {"uid": review.uid, "problem": type(problem).__name__}})
            said = "an internal error, see the webhook's log"
            reply = refusal(review.uid, code=_INTERNAL_ERROR, message=said)
        _log(review, reason, started, decision, outcomes)
        return Reply(reply, reason)


def _log(review: Review, reason: str, started: float, decision: Decision | None, outcomes: Sequence[str]) -> None:
    metadata = (review.object or {}).get("metadata") or {}
    name = review.name or metadata.get("name") or metadata.get("generateName") or ""
    fields = {
        "uid": review.uid,
        "namespace": (review.namespace or "")[:_MAX_LOGGED],
        "name": str(name)[:_MAX_LOGGED],
        "operation": review.operation[:_MAX_LOGGED],
        "reason": reason,
        "milliseconds": round((time.monotonic() - started) * 1000, 1),
        "entries": len(outcomes),
        "outcomes": list(outcomes),
        "patched": bool(decision and decision.patch),
        "dryRun": bool(review.dry_run),
    }
    logger.info("admission", extra={"fields": fields})
