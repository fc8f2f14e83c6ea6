"""One admission from bytes to bytes: parse, decide, launch, answer within the time there is, log one line.

Whatever goes wrong, the Ingress is admitted: at worst with a warning. A launch that is slow goes on after the
answer; what it leaves undone is the sweep's work.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Protocol, TypeVar

from issuer_job.issuers import Issuers
from issuer_job.kube import KubeError
from issuer_job.launch import Outcome, OutcomeReason
from issuer_job.wants import Entry
from webhook import decide
from webhook.decide import Decision
from webhook.patch import make_patch
from webhook.review import Review, answer, parse

logger = logging.getLogger(__name__)

BUDGET = 4.0
"""Seconds for everything; the API server waits for 5."""
LAUNCH_SECONDS = 30.0
"""How long a launch may take in all: it goes on after the answer, and the sweep does what it leaves."""
STALE_AFTER = 1.0
"""Seconds to wait for issuers when older ones are known."""
LAUNCH_THREADS = 32
MAX_OUTSTANDING = 200
"""Calls that may wait for a thread; beyond, an admission does not even queue."""
_MAX_LOGGED = 253
_LATER = "the certificate will come later"
_SECONDS = re.compile(r"([0-9]{1,6})(ms|s)")

T = TypeVar("T")


class Launches(Protocol):
    """What `issuer_job.launch.Launcher` does."""

    def launch(self, entry: Entry, *, namespace: str, deadline: float, expect_new: bool = False) -> Outcome:
        """Never raises KubeError; `deadline` is a time.monotonic() value."""


class KnowsIssuers(Protocol):
    """What `issuer_job.settings.SettingsCache` does."""

    def issuers(self, *, fresh: bool = False) -> Issuers:
        """`fresh`: asked for just now. Raises KubeError."""


@dataclass(frozen=True)
class Reply:
    """The answer's bytes, and what the log line says of it."""

    body: bytes
    reason: str


class _Busy(Exception):
    """Too many calls wait already."""


class Admission:
    """Answers reviews. One per process; thread-safe."""

    def __init__(
        self,
        launcher: Launches,
        settings: KnowsIssuers,
        *,
        budget: float = BUDGET,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._launcher = launcher
        self._settings = settings
        self._budget = budget
        self._pool = ThreadPoolExecutor(LAUNCH_THREADS, thread_name_prefix="admission")
        self._outstanding = BoundedSemaphore(max_outstanding)
        self._last_issuers: Issuers | None = None

    def admit(self, body: bytes, *, namespace_enabled: bool, timeout: str = "", started: float) -> Reply:
        """Answer one review. Raises BadRequest if the body is none.

        `timeout` is what the API server says it waits, in Go's notation ("5s"); `started` is the
        time.monotonic() value at which the request came in.
        """
        review = parse(body)
        deadline = started + min(self._budget, _allowed(timeout))
        decision: Decision | None = None
        outcomes: list[str] = []
        try:
            decision = decide.untouched(review, namespace_enabled=namespace_enabled)
            if decision is None:
                issuers = self._issuers(deadline)
                if decide.names_unknown_issuer(review, issuers):
                    issuers = self._issuers(deadline, fresh=True)
                decision = decide.decide(review, issuers=issuers, namespace_enabled=namespace_enabled)
            warnings, outcomes = self._launch(decision, review, deadline)
            reason = str(decision.reason)
            reply = answer(review.uid, patch=decision.patch, warnings=(*decision.warnings, *warnings))
        except (KubeError, TimeoutError, _Busy) as problem:
            reason = "IssuersUnknown"
            logger.warning("issuers-unknown", extra={"fields": {"uid": review.uid, "problem": str(problem)[:200]}})
            patch = make_patch(review.object or {}, decide.kept_entry(review))
            reply = answer(review.uid, patch=patch, warnings=[f"the issuers cannot be read now: {_LATER}"])
        except Exception:  # the one edge: a bug must not keep a user's Ingress from being stored
            reason = "InternalError"
            logger.exception("internal-error", extra={"fields": {"uid": review.uid}})
            patch = decision.patch if decision else ()  # only admission can add spec.tls
            warning = f"an internal error, see the webhook's log: {_LATER}"
            reply = answer(review.uid, patch=patch, warnings=[warning])
        _log(review, reason, started, decision, outcomes)
        return Reply(reply, reason)

    def _launch(self, decision: Decision, review: Review, deadline: float) -> tuple[list[str], list[str]]:
        """Launch all entries at once. Gives warnings, and one word for each entry that was done in time."""
        end = deadline + LAUNCH_SECONDS
        running: dict[Future[Outcome], Entry] = {}
        warnings: list[str] = []
        words: list[str] = []
        for entry in decision.launch:
            try:
                running[self._submit(_launch_one(self._launcher, entry, review, end))] = entry
            except _Busy:
                warnings.append(f"Secret {entry.secret_name[:50]}: very busy, {_LATER}")
                words.append("Busy")
        done, _ = wait(running, timeout=max(0.0, deadline - time.monotonic()))
        for future, entry in running.items():
            if future not in done:
                warnings.append(f"Secret {entry.secret_name[:50]}: the API server is slow, {_LATER}")
                words.append("Timeout")
                continue
            outcome = future.result()
            words.append(str(outcome.reason))
            if outcome.warning:
                warnings.append(outcome.warning)
            elif outcome.reason is OutcomeReason.LAUNCHED:
                warnings.append(_on_its_way(entry))
        return warnings, words

    def _issuers(self, deadline: float, *, fresh: bool = False) -> Issuers:
        """The issuers, or those last seen if the API server does not tell in time: spec.tls is added only here."""
        if (last := self._last_issuers) is not None:
            deadline = min(deadline, time.monotonic() + STALE_AFTER)
        try:
            self._last_issuers = self._within(deadline, lambda: self._settings.issuers(fresh=fresh))
        except (KubeError, TimeoutError, _Busy):
            if last is None:
                raise
            return last
        return self._last_issuers

    def _within(self, deadline: float, call: Callable[[], T]) -> T:
        """The call's result, or TimeoutError at the deadline: a hanging API server must not hold the request."""
        future = self._submit(call)
        try:
            return future.result(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        if not self._outstanding.acquire(blocking=False):
            raise _Busy("too many admissions at once")
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._outstanding.release())
        return future


def _launch_one(launcher: Launches, entry: Entry, review: Review, deadline: float) -> Callable[[], Outcome]:
    namespace, new = decide.namespace_of(review), review.operation == "CREATE"
    return lambda: launcher.launch(entry, namespace=namespace, deadline=deadline, expect_new=new)


def _on_its_way(entry: Entry) -> str:
    hosts = "1 host" if len(entry.hosts) == 1 else f"{len(entry.hosts)} hosts"
    issuer = entry.source.settings.issuer
    return f"Secret {entry.secret_name[:40]}: certificate for {hosts} is being ordered from {issuer}"


def _allowed(timeout: str) -> float:
    """Seconds that the API server's own timeout leaves, one kept for the way back; unknown: no bound."""
    match = _SECONDS.fullmatch(timeout)
    if match is None:
        return BUDGET
    seconds = int(match[1]) / (1000 if match[2] == "ms" else 1)
    return max(seconds - 1, seconds / 2)


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
