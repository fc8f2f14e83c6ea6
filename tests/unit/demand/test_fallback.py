"""The fallback of an issuer that has been failing: whose turn it is, and that the turns come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.demand.eligibility import due_fallback
from issuer_job.issuers.host_rules import HostRule
from issuer_job.issuers.schema import Fallback, Http01, Issuer, Selector, Solver
from issuer_job.issuers.types import SELF_SIGNED
from issuer_job.record import transitions
from issuer_job.record.record import IngressClass, Phase, Record, Retry
from tests.fakes.acme import problem
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.samples import NOW, PROBLEM, attempt, record, source
from tests.worlds.sweep import run as sweep

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
FIRST = Issuer(server="https://ca.certjob.dev/dir", fallback=Fallback(issuer="other", after="2h"))
OTHER = Issuer(type=SELF_SIGNED.name)


def failing(phase: Phase = Phase.WAITING, *, since: Any = NOW, issuer: str = "") -> Record:
    made = record(phase)
    retry = Retry(problem=PROBLEM, failures=3, intent_hash=made.intent.hash, since=since, not_before=NOW + 99 * HOUR)
    return replace(made, retry=retry, attempt=attempt(issuer=issuer))


def due(made: Record, *, after: timedelta = 2 * HOUR, first: Issuer = FIRST, other: Issuer | None = OTHER) -> str:
    issuers = {"le": first} | ({"other": other} if other else {})
    return due_fallback(made, issuers, now=NOW + after)


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED])
def test_after_the_time_it_has_a_turn(phase: Phase) -> None:
    assert due(failing(phase)) == "other"
    assert due(failing(phase), after=2 * HOUR - SECOND) == ""


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.WAITING, Phase.FAILED}))
def test_in_no_other_phase(phase: Phase) -> None:
    assert due(failing(phase)) == ""


def test_then_it_is_the_first_ones_turn_again() -> None:
    assert due(failing(issuer="other")) == ""


def test_who_has_not_failed_has_no_fallback() -> None:
    assert due(failing(since=None)) == ""
    assert due(replace(failing(), retry=None)) == ""
    assert due(failing(), first=replace(FIRST, fallback=None)) == ""
    assert due(failing(), other=None) == ""
    assert due_fallback(failing(), {}, now=NOW + 9 * HOUR) == ""


@pytest.mark.parametrize(
    "other",
    [
        replace(OTHER, allowed_namespaces=("team-*",)),
        replace(OTHER, ingress_classes=("nginx",)),
        replace(OTHER, allowed_hosts=(HostRule(namespaces=("*",), suffixes=("elsewhere.dev",)),)),
        Issuer(server="https://b.dev", solvers=(Solver(selector=Selector(dns_names=("x.dev",)), http01=Http01()),)),
    ],
)
def test_one_that_may_not_serve_the_hosts_takes_no_turn(other: Issuer) -> None:
    made = replace(failing(), sources=(source(ingress_class=IngressClass(field="traefik")),))
    assert due(made) == "other"
    assert due(made, other=other) == ""


def test_a_ca_that_fails_for_long_is_replaced_and_tried_again_at_the_renewal(swept: JobWorld) -> None:
    swept.set_issuer(fallback={"issuer": "spare", "after": "3h"})
    swept.set_issuer("spare", default=False, type="selfsigned", lifetime="9d")
    swept.apply(ingress())
    retry_after = {"Retry-After": "86400"}
    swept.ca.script("/order", *(problem("rateLimited", status=429, headers=retry_after) for _ in range(2)))
    assert swept.run() is v.ExitCode.LATER
    swept.clock.ahead += 2 * HOUR
    sweep(swept)
    assert swept.record().phase is Phase.WAITING  # the operator has more patience
    swept.clock.ahead += HOUR
    sweep(swept)
    assert swept.record().issuer == "spare"  # although the first CA asked for a day
    assert swept.run() is v.ExitCode.DONE
    made = swept.record()
    assert made.issued is not None
    assert made.issued.directory == "selfsigned"
    assert made.intent.settings.issuer == ISSUER
    assert swept.secret()["metadata"]["annotations"][v.ISSUER] == "spare"
    assert made.retry is None
    sweep(swept)
    assert swept.record().phase is Phase.ISSUED
    swept.clock.ahead += timedelta(days=7)
    sweep(swept)
    assert (swept.record().phase, swept.record().issuer) == (Phase.LAUNCHED, ISSUER)


def test_when_the_fallback_fails_too_the_first_is_next(swept: JobWorld) -> None:
    swept.set_issuer(fallback={"issuer": "spare", "after": "1h"})
    swept.set_issuer("spare", default=False, type="ca")  # its key pair is missing
    swept.apply(ingress())
    swept.ca.script("/order", problem("serverInternal", status=500, headers={"Retry-After": "7200"}))
    assert swept.run() is v.ExitCode.LATER
    swept.clock.ahead += HOUR
    sweep(swept)
    assert swept.record().issuer == "spare"
    assert swept.run() is v.ExitCode.LATER
    sweep(swept)
    assert swept.record().phase is Phase.WAITING  # not again at once
    swept.clock.ahead += 24 * HOUR
    sweep(swept)
    assert swept.record().issuer == ISSUER
    assert swept.run() is v.ExitCode.DONE


def test_key_stores_have_no_fallback() -> None:
    """The other issuer's credentials have other passwords."""
    made = failing()
    settings = replace(made.intent.settings, formats=("keystore.p12",))
    assert due(replace(made, intent=replace(made.intent, settings=settings))) == ""
    settings = replace(settings, formats=("ca.crt",))
    assert due(replace(made, intent=replace(made.intent, settings=settings))) == "other"


def test_a_record_that_failed_before_failures_were_timed_is_timed_from_the_next_one_on() -> None:
    failed_again = transitions.waiting(failing(Phase.CLAIMED, since=None), problem=PROBLEM, now=NOW, wait=HOUR)
    assert failed_again.retry is not None
    assert failed_again.retry.since == NOW
