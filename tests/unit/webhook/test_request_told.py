"""What the webhook tells the owner of a Secret that asks for a certificate and does not get what he expects."""

from __future__ import annotations

from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from tests.fakes.webhook_parts import FakeLauncher
from tests.worlds.job import JobWorld
from tests.worlds.request import ask, asking
from tests.worlds.secret_reviews import (
    JOB,
    admitted,
    applied,
    client_of,
    decided,
    encoded,
    issued,
    other_key,
    pair,
    response_of,
    review_of,
    secret,
    without_label,
)
from webhook.policy import AdmissionReason

BROKEN = [other_key(), pair(days=-1, age=30), encoded(b"x", b"y"), other_key() | {"tls.key": ""}]


@pytest.mark.parametrize("data", BROKEN)
def test_a_certificate_that_does_not_work_is_told_when_the_old_one_stays(data: dict[str, str]) -> None:
    stored = issued(admitted(secret()))
    decision = decided(secret(data=data), stored)
    assert applied(secret(data=data), decision)["data"] == stored["data"]
    said = "the certificate in data does not work (key, date or form): the one that is stored stays"
    assert decision.warnings == (said,)


def test_it_is_told_too_when_the_old_placeholder_stays() -> None:
    stored = admitted(secret())
    decision = decided(secret(data=other_key()), stored)
    assert applied(secret(data=other_key()), decision)["data"] == stored["data"]
    assert any("a placeholder takes its place" in warning for warning in decision.warnings)


def test_the_key_alone_counts_too() -> None:
    stored = issued(admitted(secret()))
    data = stored["data"] | {"tls.key": pair()["tls.key"]}
    assert any("the one that is stored stays" in warning for warning in decided(secret(data=data), stored).warnings)


def test_nothing_is_told_of_what_certjob_wrote_itself() -> None:
    exported = admitted(secret())
    stored = issued(exported)
    for new, old in ((exported, stored), (stored, stored), (exported, exported), (secret(data=pair()), stored)):
        assert decided(new, old).warnings == ()


def other_type(**fields: Any) -> dict[str, Any]:
    return secret(type="Opaque", **fields)


@pytest.mark.parametrize("old", [None, without_label() | {"type": "Opaque"}])
def test_the_label_on_a_secret_of_another_type_is_refused_in_words(old: Any) -> None:
    decision = decided(other_type(), old)
    assert decision.reason is AdmissionReason.REFUSED
    assert "needs type: kubernetes.io/tls" in decision.refused
    assert decision.launch == ()


def test_one_of_another_type_that_carries_the_label_already_may_be_changed() -> None:
    decision = decided(other_type(data={"a": "eA=="}), other_type())
    assert (decision.reason, decision.refused, decision.patch) == (AdmissionReason.NOT_A_REQUEST, "", ())


def test_why_it_could_not_be_written_down_is_told() -> None:
    why = "ConfigMap certjob-options: Object contains unknown field `nonsense`"
    launcher = FakeLauncher({"db-tls": LaunchOutcome(OutcomeReason.LATER, "db-tls", warning="later", why=why)})
    response = response_of(client_of(launcher), review_of(secret()))
    assert response["allowed"] is False
    assert response["status"]["code"] == 503
    assert why in response["status"]["message"]
    assert "slow" not in response["status"]["message"]


def test_broken_options_are_why(world: JobWorld) -> None:
    world.set_options(nonsense=1)
    (outcome,) = ask(world, asking(), stored=False)
    assert outcome.reason is OutcomeReason.LATER
    assert outcome.why == "ConfigMap certjob-options: Object contains unknown field `nonsense`"


def test_a_look_of_certjobs_own_is_answered_without_what_others_wrote() -> None:
    stored = issued(admitted(secret(notes={"issuer": "private"})))
    stored["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "with data"
    labels = {v.MANAGED: "true", v.REQUEST: "true"}
    body = secret(data={"tls.crt": "", "tls.key": ""})
    body["metadata"] = {"name": "db-tls", "labels": labels, "annotations": {v.LOOK: "true"}}
    answer = applied(body, decided(body, stored, userInfo={"username": JOB}, dryRun=True))
    assert answer["data"] == body["data"]
    assert answer["metadata"]["labels"] == labels | {v.STATE: "issued"}
    assert set(answer["metadata"]["annotations"]) == {v.HOSTS, v.ISSUER, v.NOT_AFTER, v.LOOK}
    assert answer["metadata"]["annotations"][v.LOOK] == "seen"
