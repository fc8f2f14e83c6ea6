"""Whatever a Job writes may be refused: it waits with the words of who refused, and goes on when it is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, Json, Response
from issuer_job.record.record import Phase, Problem
from tests.fakes.api import Attempt, denied_by, status
from tests.worlds.job import JobWorld, assert_good_secret, ingress

WORDS = "every object needs the label team"
WEBHOOK = status(403, "", f'admission webhook "validate.kyverno.svc" denied the request: {WORDS}')


def refuse(world: JobWorld, plural: str, answer: Response, which: Callable[[Attempt], bool]) -> None:
    """Somebody else refuses some of the writes of a kind, but no canary and no look."""
    inner = world.api.hooks.get(plural, lambda attempt: None)

    def hook(attempt: Attempt) -> Json | Response | None:
        sent = (attempt.new or {}).get("metadata", {})
        asks = v.LOOK in (sent.get("annotations") or {}) or sent.get("name") == "certjob-canary"
        return answer if not asks and which(attempt) else inner(attempt)

    world.api.hooks[plural] = hook


def why(world: JobWorld) -> Problem:
    record = world.record()
    assert record.retry is not None
    return record.retry.problem


def is_in_certjob(attempt: Attempt) -> bool:
    return attempt.namespace == v.NAMESPACE


CASES: dict[str, tuple[str, Callable[[Attempt], bool]]] = {
    "route": ("ingresses", is_in_certjob),
    "challenge": ("configmaps", lambda attempt: attempt.name.startswith("challenge-")),
    "claim": ("configmaps", lambda attempt: attempt.name.startswith("claim-")),
    "account key": ("secrets", lambda attempt: attempt.name.startswith("account-")),
    "pending key": ("secrets", lambda attempt: attempt.name.startswith("pending-")),
    "the Secret": ("secrets", lambda attempt: attempt.namespace == "shop"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "answer", [denied_by("team", WORDS, code=422, reason="Invalid"), WEBHOOK], ids=["422", "hook"]
)
@pytest.mark.parametrize("case", CASES)
def test_it_waits_with_the_words_and_goes_on_when_nobody_refuses_any_more(
    world: JobWorld, case: str, answer: Response
) -> None:
    plural, which = CASES[case]
    hooks = dict(world.api.hooks)
    world.apply(ingress())
    for held in [name for name in world.left_over() if name.startswith("route-")]:
        world.cluster.delete(INGRESSES, v.NAMESPACE, held)
    refuse(world, plural, answer, which)
    code = world.run()
    while code is v.ExitCode.OTHER_POD:  # the next one has the account's key mounted
        code = world.run()
    name = "policy team" if answer.status == 422 else "webhook validate.kyverno.svc"
    assert (code, world.record().phase) == (v.ExitCode.LATER, Phase.WAITING)
    assert why(world).type == ("secretRefused" if case == "the Secret" else "writeRefused")
    assert f"{name}: {WORDS}" in why(world).detail
    assert "system:serviceaccounts:certjob" in why(world).detail
    [(reason, note)] = world.events()
    assert (reason, f"{name}: {WORDS}" in note) == ("CertificateFailed", True)
    assert ("pathType" in note) is (case == "route")
    assert len(world.ca.ordered) <= 1
    world.api.hooks.clear()
    world.api.hooks.update(hooks)
    world.clock.ahead += timedelta(minutes=2)
    world.relaunch()
    while (code := world.run()) is v.ExitCode.OTHER_POD:
        pass
    assert code is v.ExitCode.DONE
    assert_good_secret(world)


def test_a_record_that_must_not_be_written_any_more_is_told_all_the_same(world: JobWorld) -> None:
    world.apply(ingress())
    refuse(world, "configmaps", denied_by("team", WORDS), lambda attempt: attempt.name == "shop.web-tls")
    assert world.run() is v.ExitCode.LATER
    [(reason, note)] = world.events()
    assert (reason, f"policy team: {WORDS}" in note) == ("CertificateFailed", True)
    assert world.ca.requests == []


def test_an_event_that_is_refused_costs_no_certificate(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.hooks["events"] = lambda attempt: WEBHOOK
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


def test_a_pending_key_that_must_not_be_deleted_costs_no_certificate(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.fail("DELETE", "/secrets/pending-", denied_by("team", WORDS))
    assert world.run() is v.ExitCode.DONE
    assert world.record().phase is Phase.ISSUED
