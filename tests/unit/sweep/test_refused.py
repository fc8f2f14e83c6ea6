"""What others refuse ends no pass, and is told where somebody asks for a certificate."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, JOBS
from issuer_job.record.phases import Phase
from tests.fakes.api import denied_by, status
from tests.worlds.job import JobWorld, ingress
from tests.worlds.sweep import run, wait_for, with_webhook

pytestmark = pytest.mark.exhaustive

WORDS = "every object needs the label team"
DENIED = denied_by("team", WORDS)


@pytest.fixture
def swept(world: JobWorld) -> JobWorld:
    return with_webhook(world)


def told(world: JobWorld) -> list[str]:
    return [note for reason, note in world.events() if reason == "CertificateFailed" and f"team: {WORDS}" in note]


@pytest.mark.parametrize("known", [False, True], ids=["missed", "retry"])
def test_a_job_that_is_refused_is_told_at_the_first_pass_and_made_when_nobody_refuses(
    swept: JobWorld, known: bool
) -> None:
    if known:
        swept.apply(ingress(uid="u-1"))
        swept.run()
        wait_for(swept)
        swept.api.remove(JOBS, v.NAMESPACE, swept.record().job_name)
    else:
        swept.api.add(INGRESSES, "shop", ingress(uid="u-1"))
    swept.api.hooks["jobs"] = lambda attempt: DENIED if attempt.name != "certjob-canary" else None
    swept.clock.ahead += timedelta(minutes=5)
    run(swept)
    assert len(told(swept)) == 1
    assert swept.record().phase is Phase.WAITING
    del swept.api.hooks["jobs"]
    swept.clock.ahead += timedelta(minutes=5)
    run(swept)
    assert (swept.record().phase, len(swept.api.all(JOBS))) == (Phase.LAUNCHED, 1)


def test_a_job_that_was_refused_at_admission_is_told_by_the_next_pass(swept: JobWorld) -> None:
    swept.api.hooks["jobs"] = lambda attempt: DENIED if attempt.name != "certjob-canary" else None
    swept.apply(ingress(uid="u-1"))
    assert told(swept) == []
    run(swept)
    assert len(told(swept)) == 1
    run(swept)
    assert len(told(swept)) == 1


def test_a_record_that_cannot_be_made_is_told_and_the_others_have_their_turn(swept: JobWorld) -> None:
    for name in ("one", "two"):
        swept.api.add(INGRESSES, "shop", ingress(name, uid=f"u-{name}", secret=f"{name}-tls"))
    swept.api.hooks["configmaps"] = lambda attempt: DENIED if attempt.name == "shop.one-tls" else None
    run(swept)
    [note] = told(swept)
    assert "one-tls" in note
    assert swept.record("two-tls").phase is Phase.LAUNCHED
    run(swept)
    assert len(told(swept)) == 1


@pytest.mark.parametrize("answer", [DENIED, status(403, "Forbidden", "no")], ids=["policy", "rights"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/mutatingwebhookconfigurations/"),
        ("POST", "/certjob/secrets"),
        ("PUT", "/certjob/secrets/"),
        ("GET", "/certjob/secrets/"),
        ("GET", "/certjob/ingresses"),
        ("GET", "/certjob/configmaps.*certjob.io%2Fchallenge"),
        ("GET", "/certjob/configmaps.*revocation"),
        ("POST", "/certjob/configmaps.*"),
        ("GET", "/resourcequotas"),
        ("POST", "/events"),
    ],
)
def test_no_step_ends_the_pass(swept: JobWorld, method: str, path: str, answer: object) -> None:
    swept.apply(ingress(uid="u-1"))
    swept.run()
    wait_for(swept)
    swept.clock.ahead += timedelta(days=40)  # whatever is to be renewed of the webhook's is due, too
    swept.api.fail(method, path, answer, times=99)  # type: ignore[arg-type]
    assert run(swept) is v.ExitCode.DONE
    assert swept.record().phase is Phase.LAUNCHED
