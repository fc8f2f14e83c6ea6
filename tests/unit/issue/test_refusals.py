"""Secrets that may not be written, policies that are missing, issuers that do not work, hosts of others."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Unreachable
from issuer_job.hosts.claims import claim_body
from issuer_job.issue.settle import LONGEST_QUIET
from issuer_job.issuers.state import state_body
from issuer_job.record.record import Phase, Problem
from tests.fakes.acme import Request, problem
from tests.fakes.api import status
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress


def foreign(kind: str = "kubernetes.io/tls", **fields: object) -> Json:
    """A Secret that somebody else made."""
    data = {"tls.crt": b64encode(b"theirs").decode(), "tls.key": b64encode(b"theirs").decode()}
    return {"metadata": {"name": "web-tls", **fields.pop("metadata", {})}, "type": kind, "data": data, **fields}  # type: ignore[dict-item]


def trouble(world: JobWorld) -> Problem:
    retry = world.record().retry
    assert retry is not None
    return retry.problem


@pytest.mark.parametrize(
    ("secret", "kind", "hint"),
    [
        (foreign(), "foreignSecret", "certjob.io/managed=true"),
        (foreign("Opaque"), "foreignSecret", "another type"),
        (foreign("Opaque", metadata={"labels": {v.MANAGED: "true"}}), "foreignSecret", "another type"),
        (foreign(metadata={"labels": {v.MANAGED: "true"}}, immutable=True), "immutableSecret", "delete it"),
    ],
)
def test_what_is_not_ours_to_write_is_left_alone_and_costs_no_order(
    world: JobWorld, secret: Json, kind: str, hint: str
) -> None:
    before = world.api.add(SECRETS, "shop", secret)
    world.apply(ingress())
    assert world.run() is v.ExitCode.PERMANENT
    assert world.record().phase is Phase.FAILED
    assert trouble(world).type == kind
    assert hint in trouble(world).detail
    assert world.api.stored(SECRETS, "shop", "web-tls") == before
    assert world.ca.requests == []
    assert world.left_over() == []
    [(reason, note)] = world.events()
    assert reason == "CertificateFailed"
    assert hint in note


def test_a_namespace_whose_quota_is_used_up_costs_no_order(world: JobWorld) -> None:
    world.policies.full.add("shop")
    world.apply(ingress())
    assert world.api.all(SECRETS, "shop") == []
    assert world.run() is v.ExitCode.LATER
    assert (world.record().phase, trouble(world).type) == (Phase.WAITING, "quotaExceeded")
    assert world.ca.requests == []


def test_in_a_namespace_that_is_being_deleted_nobody_wants_a_certificate(world: JobWorld) -> None:
    world.policies.terminating.add("shop")
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert (world.record().phase, trouble(world).type) == (Phase.ORPHANED, "namespaceTerminating")
    assert world.ca.requests == []
    assert world.events() == []
    assert world.left_over() == []


def test_without_policies_nothing_is_launched(world: JobWorld) -> None:
    world.policies.in_force = False
    [outcome] = world.apply(ingress())
    assert outcome.reason == "PoliciesNotInForce"
    assert [c["metadata"]["name"] for c in world.api.all(CONFIGMAPS) if v.RECORD in c["metadata"]["labels"]] == []


def test_policies_that_lapsed_stop_the_job_before_it_acts(world: JobWorld) -> None:
    world.apply(ingress())
    world.policies.in_force = False
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "policiesNotInForce"
    assert world.ca.requests == []
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"


def test_without_the_look_policy_the_answer_is_not_believed(world: JobWorld) -> None:
    world.apply(ingress())
    world.policies.look = False
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "policiesNotInForce"
    assert world.ca.requests == []


def test_labels_and_annotations_of_others_stay(world: JobWorld) -> None:
    labels = {v.MANAGED: "true", "team": "shop"}
    notes = {"reloader": "on"}
    world.api.add(SECRETS, "shop", foreign(metadata={"labels": labels, "annotations": notes}))
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    metadata = world.secret()["metadata"]
    assert metadata["labels"]["team"] == "shop"
    assert metadata["labels"][v.STATE] == "issued"
    assert metadata["annotations"]["reloader"] == "on"
    assert v.LOOK not in metadata["annotations"]


def test_a_secret_that_changes_during_the_write_is_looked_at_again(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.fail("PUT", r"/shop/secrets/web-tls\?fieldManager=certjob$", status(409, "Conflict"), times=2)
    assert world.run() is v.ExitCode.DONE
    assert world.secret()["metadata"]["labels"][v.STATE] == "issued"


@pytest.mark.usefixtures("no_pauses")
def test_a_secret_that_never_rests_is_given_up_and_the_order_kept(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.fail("PUT", r"/shop/secrets/web-tls\?fieldManager=certjob$", status(409, "Conflict"), times=99)
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "secretChanging"
    world.api.clear_faults()
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


def test_a_secret_deleted_before_the_write_is_made_anew(world: JobWorld) -> None:
    world.apply(ingress())

    def delete(request: Request) -> None:
        if request.path == "/cert/1":
            world.api.remove(SECRETS, "shop", "web-tls")

    world.ca.before = delete
    assert world.run() is v.ExitCode.DONE
    assert world.secret()["metadata"]["labels"][v.STATE] == "issued"


def test_a_host_of_another_namespace_is_not_ordered(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(HOST, "elsewhere"))
    assert world.run() is v.ExitCode.PERMANENT
    assert (trouble(world).type, trouble(world).host) == ("hostClaimed", HOST)
    assert world.ca.requests == []


def test_a_host_without_a_claim_is_claimed(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert world.run() is v.ExitCode.DONE
    claim = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert claim is not None
    assert claim["data"] == {"host": HOST, "namespace": "shop"}


def test_an_issuer_that_is_gone(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "unknownIssuer"


@pytest.mark.parametrize("fields", [{"server": "http://plain"}, {"caBundle": "-----BEGIN CERTIFICATE-----\nno\n"}])
def test_an_issuer_that_is_broken(world: JobWorld, fields: dict[str, Any]) -> None:
    world.apply(ingress())
    world.set_issuer(**fields)
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "brokenIssuer"


def test_an_ingress_that_names_another_issuer_now(world: JobWorld) -> None:
    world.set_issuer("second", default=False)
    world.apply(ingress())
    world.api.add(INGRESSES, "shop", ingress(annotations={v.ISSUER: "second"}))
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "issuerChanged"
    assert world.ca.requests == []


def test_of_two_ingresses_on_one_secret_the_older_ones_issuer_signs_for_both(world: JobWorld) -> None:
    world.set_issuer("second", default=False)
    world.api.add(INGRESSES, "shop", ingress(hosts=("a.certjob.dev",), creationTimestamp="2026-01-01T00:00:00Z"))
    younger = ingress("other", hosts=("b.certjob.dev",), annotations={v.ISSUER: "second"})
    for body in (ingress(hosts=("a.certjob.dev",), creationTimestamp="2026-01-01T00:00:00Z"), younger):
        world.clock.ahead += timedelta(seconds=2)
        world.apply(body)
    world.clock.ahead += LONGEST_QUIET
    assert world.run() is v.ExitCode.DONE
    record = world.record()
    assert record.intent.hosts == ("a.certjob.dev", "b.certjob.dev")
    assert record.intent.settings.issuer == ISSUER
    assert sum(world.clock.slept) < 1  # nothing was waited for: the live Ingresses are what the record says


def test_two_ingresses_on_one_secret_each_get_the_event(world: JobWorld) -> None:
    world.apply(ingress())
    world.apply(ingress("other"))
    assert world.run() is v.ExitCode.DONE
    assert len(world.events()) == 2


def test_an_external_account_that_lacks_its_key(world: JobWorld) -> None:
    world.set_issuer(externalAccount={"keyId": "k"})
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert "eab-hmac-key" in trouble(world).detail


@pytest.mark.parametrize("hmac_key", [b"\xff\xfe", b"!"])
def test_an_external_account_key_that_is_none(world: JobWorld, hmac_key: bytes) -> None:
    world.set_issuer(externalAccount={"keyId": "k"})
    data = {"eab-hmac-key": b64encode(hmac_key).decode()}
    world.api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": names.credentials(ISSUER), "labels": {}}, "data": data})
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "brokenIssuer"
    assert "base64url" in trouble(world).detail


def test_a_limit_on_new_accounts_holds_all_jobs_of_the_issuer_back(world: JobWorld) -> None:
    world.ca.script("/account", problem("rateLimited", "slow down", status=429, headers={"Retry-After": "3600"}))
    world.apply(ingress())
    world.apply(ingress("web2", secret="web2-tls", hosts=("b.certjob.dev",)))
    assert world.run() is v.ExitCode.LATER
    asked = len(world.ca.requests)
    assert world.run(secret="web2-tls") is v.ExitCode.LATER
    assert len(world.ca.requests) == asked
    retry = world.record("web2-tls").retry
    assert retry is not None
    assert retry.problem.type == "issuerBlocked"
    assert "slow down" in retry.problem.detail
    assert retry.not_before is not None
    assert retry.not_before - world.clock.read() > timedelta(minutes=59)
    world.clock.ahead += timedelta(hours=2)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE


def test_a_block_that_a_wrong_clock_wrote_holds_nobody(world: JobWorld) -> None:
    state = state_body(ISSUER, world.server, {"blockedUntil": "2090-01-01T00:00:00+00:00"})
    world.api.add(CONFIGMAPS, v.NAMESPACE, state)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE


def test_an_event_is_a_courtesy(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.fail("POST", "/events", status(403, "Forbidden"), times=9)
    assert world.run() is v.ExitCode.DONE


def test_an_event_about_a_failure_is_a_courtesy_too(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)  # fails before the Ingresses were looked at
    world.api.fail("GET", "/shop/ingresses/", Unreachable("cut"), times=9)
    assert world.run() is v.ExitCode.LATER
    assert world.left_over() == []
