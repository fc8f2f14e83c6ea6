"""Counters and histograms of the view: what records and pods have told since it has begun."""

from __future__ import annotations

from collections.abc import Callable, Container

from issuer_job.last_word import LastWord, Step, Work
from issuer_job.metrics.exposition import Exposition
from issuer_job.metrics.families import OTHER
from issuer_job.vocabulary import ExitCode
from webhook.view.families import ATTEMPTS, ISSUANCE, PROBLEMS, REASONS, STEPS, TYPES, UNKNOWN_ISSUER
from webhook.view.history import AttemptOutcome, ProblemMet, Told

ISSUE_STEPS = (
    Step.START,
    Step.CLAIMED,
    Step.ORDERING,
    Step.AUTHORIZING,
    Step.FINALIZING,
    Step.INSTALLING,
)


class Results:
    """Each is told once. Thread-safe. `issuers` are those that are there."""

    def __init__(self, exposition: Exposition, issuers: Callable[[], Container[str]]) -> None:
        self._issuers = issuers
        self._attempts = exposition.counter(ATTEMPTS)
        self._problems = exposition.counter(PROBLEMS)
        self._issuance = exposition.histogram(ISSUANCE)
        self._steps = exposition.histogram(STEPS)

    def add(self, told: Told) -> None:
        """One line of a record's story."""
        issuer = told.issuer if told.issuer in self._issuers() else UNKNOWN_ISSUER
        if isinstance(told, ProblemMet):
            self._problems.labels(issuer, told.type if told.type in TYPES else OTHER).inc()
            return
        self._attempts.labels(issuer, REASONS.get(told.reason, OTHER), told.outcome).inc()
        if told.outcome is AttemptOutcome.ISSUED:
            self._issuance.labels(issuer, "renewal" if told.replaces else "new").observe(told.seconds)

    def add_word(self, word: LastWord) -> None:
        """What a Job's pod said at its end."""
        if word.work is Work.ISSUE and word.exit_code == ExitCode.DONE:
            for step in ISSUE_STEPS:
                if step in word.steps:
                    self._steps.labels(step).observe(word.steps[step])
