"""Arguments of arrows that mypy has to refuse, read by `make lint`, never run.

An ignored error that is none any more is one itself (warn_unused_ignores): arrows would then take anything.
"""

from __future__ import annotations

from datetime import timedelta

from issuer_job.attempt.attempt import Attempt
from issuer_job.record import transitions
from issuer_job.record.record import Problem, Record
from issuer_job.sweep.effects import Effects


def of_a_job(attempt: Attempt, problem: Problem) -> None:
    attempt.advance(transitions.failed, problem=problem)
    attempt.advance(transitions.failed, problme=problem)  # type: ignore[call-arg]
    attempt.advance(transitions.failed)  # type: ignore[call-arg]
    attempt.advance(transitions.failed, problem="no")  # type: ignore[arg-type]
    attempt.advance(transitions.unconfirmed, problem=problem)  # type: ignore[call-arg]


def of_a_sweep(effects: Effects, record: Record, problem: Problem) -> None:
    effects.write(record, transitions.waiting, problem=problem, wait=timedelta(0))
    effects.write(record, transitions.waiting, problem=problem, wiat=timedelta(0))  # type: ignore[call-arg]
    effects.write(record, transitions.waiting, problem=problem, wait=1.0)  # type: ignore[arg-type]
