"""What an admission asks of the cluster, each call within the time there is: the issuers, and the launches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar, Unpack

from issuer_job.cluster.api import KubeError
from issuer_job.demand.common import Entry
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.launch.outcome import NOT_PLACED, LaunchOutcome, Occasion, OutcomeReason, of_hosts
from webhook.fair_pool import MAX_OUTSTANDING, Busy, FairPool
from webhook.policy import Decision
from webhook.review import Review

BUDGET = 4.0
"""Seconds for everything; the API server waits for 5."""
LAUNCH_SECONDS = 30.0
"""How long a launch may take in all: it goes on after the answer, and the sweep does what it leaves."""
STALE_AFTER = 1.0
"""Seconds to wait for issuers when older ones are known."""
LATER = "the certificate will come later"
_NOT_PLACED = "no placeholder either: without its Secret, HTTPS has the ingress controller's default certificate"
_SETTINGS = ""
"""Has its turn as a namespace does."""
_SECONDS = re.compile(r"([0-9]{1,6})(ms|s)")

T = TypeVar("T")


class CanLaunch(Protocol):
    """What `issuer_job.launch.launcher.Launcher` does."""

    def launch(self, entry: Entry, *, namespace: str, deadline: float, **occasion: Unpack[Occasion]) -> LaunchOutcome:
        """Never raises KubeError; `deadline` is a time.monotonic() value."""


class Foresees(Protocol):
    """What `webhook.foresight.Foresight` does."""

    def warnings(self, entry: Entry, *, namespace: str, deadline: float) -> tuple[str, ...]:
        """Never raises KubeError; `deadline` is a time.monotonic() value."""


class KnowsIssuers(Protocol):
    """What `issuer_job.launch.configuration.SettingsCache` does."""

    def issuers(self, *, fresh: bool = False) -> Issuers:
        """`fresh`: asked for just now. Raises KubeError."""

    def options(self) -> Options:
        """The operator's. Raises KubeError."""


@dataclass(frozen=True)
class Launched:
    """What became of a decision's entries: warnings, and one word for each entry, in time or not.

    `unsure` says why it is not known that each of them is written down, and is empty if it is.
    """

    warnings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    unsure: str = ""


class Calls:
    """One per process, for all admissions; thread-safe."""

    def __init__(
        self,
        launcher: CanLaunch,
        foresight: Foresees,
        settings: KnowsIssuers,
        *,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._launcher = launcher
        self._foresight = foresight
        self._settings = settings
        self._pool = FairPool(max_outstanding=max_outstanding)
        self._last_issuers: Issuers | None = None

    def launch(self, decision: Decision, review: Review, deadline: float) -> Launched:
        """Launch or write down all entries at once; what is not done at the deadline goes on."""
        namespace, new, end = review.namespace or "", review.operation == "CREATE", deadline + LAUNCH_SECONDS
        launch = partial(
            self._launcher.launch, namespace=namespace, deadline=end, expect_new=new, at_once=decision.at_once
        )
        running: dict[Future[LaunchOutcome], Entry] = {}
        warnings: list[str] = []
        words: list[str] = []
        unsure = ""
        for entry in decision.launch:
            try:
                running[self._pool.submit(namespace, partial(launch, entry))] = entry
            except Busy:
                warnings.append(f"Secret {entry.secret_name[:50]}: very busy, {LATER}")
                words.append("Busy")
                unsure = "the webhook is very busy"
        done, _ = wait(running, timeout=max(0.0, deadline - time.monotonic()))
        for future, entry in running.items():
            if future not in done:
                warnings.append(f"Secret {entry.secret_name[:50]}: the API server is slow, {LATER}")
                words.append("Timeout")
                unsure = "the API server is slow"
                continue
            outcome = future.result()
            words.append(str(outcome.reason))
            if outcome.reason is OutcomeReason.LATER:
                unsure = outcome.why or "its record could not be stored"
            if outcome.warning:
                warnings.append(outcome.warning)
            elif outcome.reason is OutcomeReason.LAUNCHED:
                warnings.append(_on_its_way(entry))
            missing = outcome.reason in NOT_PLACED and not entry.source.kind.makes_secret
            if missing and _NOT_PLACED not in warnings:
                warnings.append(_NOT_PLACED)
        return Launched(tuple(warnings), tuple(words), unsure)

    def foresee(self, decision: Decision, review: Review, deadline: float) -> tuple[str, ...]:
        """What would become of what a dry run asks for; what is not known at the deadline is not told."""
        if not decision.foreseen:
            return ()
        namespace, running = review.namespace or "", []
        for entry in decision.foreseen:
            look = partial(self._foresight.warnings, entry, namespace=namespace, deadline=deadline)
            with suppress(Busy):
                running.append(self._pool.submit(namespace, look))
        done, _ = wait(running, timeout=max(0.0, deadline - time.monotonic()))
        told = tuple(warning for future in running if future in done for warning in future.result())
        late = ("not all of it could be looked at in time: whose the hosts are may be told when it is applied",)
        return told + (() if len(done) == len(decision.foreseen) else late)

    def issuers(self, deadline: float, *, fresh: bool = False) -> Issuers:
        """The issuers, or those last seen if the API server does not tell in time: spec.tls is added only here."""
        if (last := self._last_issuers) is not None:
            deadline = min(deadline, time.monotonic() + STALE_AFTER)
        try:
            self._last_issuers = self._within(deadline, lambda: self._settings.issuers(fresh=fresh))
        except (KubeError, TimeoutError, Busy):
            if last is None:
                raise
            return last
        return self._last_issuers

    def reads_aliases(self, deadline: float) -> bool:
        """Whether the annotations of other tools count. Raises KubeError, TimeoutError, Busy."""
        return self._within(deadline, lambda: self._settings.options().cert_manager_annotations)

    def _within(self, deadline: float, call: Callable[[], T]) -> T:
        """The call's result, or TimeoutError at the deadline: a hanging API server must not hold the request."""
        future = self._pool.submit(_SETTINGS, call)
        try:
            return future.result(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise


def _on_its_way(entry: Entry) -> str:
    return f"Secret {entry.secret_name[:40]}: {of_hosts(entry)} is being ordered from {entry.source.settings.issuer}"


def allowed(timeout: str) -> float:
    """Seconds that the API server's own timeout leaves, one kept for the way back; unknown: no bound."""
    match = _SECONDS.fullmatch(timeout)
    if match is None:
        return BUDGET
    seconds = int(match[1]) / (1000 if match[2] == "ms" else 1)
    return max(seconds - 1, seconds / 2)
