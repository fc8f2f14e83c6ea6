"""Secrets of kube-lego's moved to certjob, in a cluster in memory with both: no order."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.issuers.load import parse_issuer
from issuer_job.migrate.others.kube_lego import CHALLENGES, is_kube_lego, kube_lego_of
from issuer_job.migrate.plans.steps import DEPLOYMENTS, MovePlan
from issuer_job.record.record import Phase
from tests.fakes.certs_ca import pem
from tests.worlds.crash import Killed
from tests.worlds.job import COMPANY, ISSUER, JobWorld, ingress
from tests.worlds.moving import DAY, Moving
from tests.worlds.sweep import orders

LEGO = {v.TLS_ACME: "true"}


def deployment(replicas: int = 1, **variables: Any) -> Json:
    env: list[Json] = [{"name": "LEGO_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
    env += [
        {"name": name, **(value if isinstance(value, dict) else {"value": value})}
        for name, value in variables.items()
    ]
    pod = {"containers": [{"name": "kube-lego", "image": "jetstack/kube-lego:0.1.7", "env": env}]}
    spec = {"replicas": replicas, "template": {"spec": pod}}
    return {"metadata": {"name": "kube-lego", "namespace": "kube-lego"}, "spec": spec}


@pytest.fixture
def moving(swept: JobWorld) -> Moving:
    world = Moving(swept)
    install(world)
    return world


def install(moving: Moving, replicas: int = 1, **variables: Any) -> None:
    body = deployment(replicas, **{"LEGO_URL": moving.swept.server, "LEGO_EMAIL": "ops@certjob.dev"} | variables)
    moving.swept.api.add(DEPLOYMENTS, "kube-lego", body)
    challenges = {"metadata": {"name": "kube-lego-nginx", "annotations": {CHALLENGES: "true"}}, "spec": {}}
    moving.swept.api.add(INGRESSES, "kube-lego", challenges)


def legos(moving: Moving, name: str = "web", *, notes: Json = LEGO, **about: Any) -> None:
    """An Ingress that asks it, and the Secret that it has written."""
    host = f"{name}.certjob.dev"
    moving.swept.api.add(INGRESSES, "shop", ingress(name, hosts=(host,), secret=f"{name}-tls", **about))
    now, key = moving.begun, generate_key(KeyAlgorithm.ECDSA_P256)
    chain = pem(COMPANY.issue([host], key, not_before=now - 5 * DAY, not_after=now + 85 * DAY))
    data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key_to_pem(key)).decode()}
    body = {"metadata": {"name": f"{name}-tls", "annotations": notes}, "type": v.TLS_SECRET_TYPE, "data": data}
    moving.swept.api.add(SECRETS, "shop", body)


def rows(plan: MovePlan) -> dict[str, str]:
    return {row.secret_name: row.will_be for row in plan.rows}


def default_issuers(moving: Moving) -> list[str]:
    found = moving.swept.api.all(CONFIGMAPS, v.NAMESPACE)
    return [each["metadata"]["name"] for each in found if v.DEFAULT_ISSUER in each["metadata"].get("annotations", {})]


def final(moving: Moving) -> Json:
    api = moving.swept.api
    return {
        "challenges": api.all(INGRESSES, "kube-lego"),
        "replicas": api.stored(DEPLOYMENTS, "kube-lego", "kube-lego")["spec"]["replicas"],  # type: ignore[index]
        "labels": {
            each["metadata"]["name"]: each["metadata"]["labels"][v.MANAGED] for each in api.all(SECRETS, "shop")
        },
        "records": {one.secret_name: one.phase for one in moving.records()},
    }


MOVED = {
    "challenges": [],
    "replicas": 0,
    "labels": {"web-tls": "true", "api-tls": "true"},
    "records": {"web-tls": Phase.ISSUED, "api-tls": Phase.ISSUED},
}


def test_all_of_it(moving: Moving) -> None:
    legos(moving, "web")
    legos(moving, "api")
    before = [
        (each["metadata"]["name"], each["metadata"]["annotations"])
        for each in moving.swept.api.all(INGRESSES, "shop")
    ]
    plan = moving.legos_plan()
    assert rows(plan) == {"api-tls": "adopted", "web-tls": "adopted"}
    assert {row.now_from for row in plan.rows} == {"kube-lego"}
    moving.carry_out(plan)
    assert final(moving) == MOVED
    after = [
        (each["metadata"]["name"], each["metadata"]["annotations"])
        for each in moving.swept.api.all(INGRESSES, "shop")
    ]
    assert after == before
    assert orders(moving.swept) == 0
    again = moving.legos_plan()
    assert (again.rows, again.steps) == ((), ())


@pytest.mark.exhaustive
def test_what_certjob_has_found_before_waits_for_the_label_alone(moving: Moving) -> None:
    legos(moving)
    moving.goes_on()
    moving.goes_on()
    assert [one.phase for one in moving.records()] == [Phase.FAILED]
    moving.carry_out(moving.legos_plan())
    assert (moving.records()[0].phase, orders(moving.swept)) == (Phase.ISSUED, 0)


@pytest.mark.exhaustive
def test_an_issuer_of_its_own_where_the_default_one_is_of_another_ca(moving: Moving) -> None:
    moving.swept.set_issuer(server="https://ca.certjob.dev/other")
    install(moving, LEGO_RSA_KEYSIZE="4096", LEGO_SECRET_NAME="account")
    legos(moving)
    plan = moving.legos_plan()
    (made,) = plan.issuers
    issuer = parse_issuer(made.config_map)
    assert (made.name, issuer.email, issuer.key_algorithm) == ("kube-lego", "ops@certjob.dev", "rsa-4096")
    assert issuer.existing_account_key == "tls.key"
    assert [(key.namespace, key.secret, key.source_key) for key in made.credentials] == [
        ("kube-lego", "account", "tls.key")
    ]
    assert rows(plan) == {"web-tls": "orders"}  # by a CA that nobody here trusts
    moving.carry_out(moving.legos_plan(orders=True, new_accounts=True))
    assert default_issuers(moving) == ["kube-lego"]


def test_the_default_issuer_is_not_changed_under_what_it_has_given(moving: Moving) -> None:
    moving.swept.apply(ingress("own", secret="own-tls", hosts=("own.certjob.dev",)))
    moving.goes_on()
    moving.swept.set_issuer(server="https://ca.certjob.dev/other")
    legos(moving)
    plan = moving.legos_plan(orders=True)
    assert plan.steps == ()
    assert f"--issuer kube-lego={ISSUER}" in plan.refused
    assert moving.legos_plan(orders=True, issuers={"kube-lego": ISSUER}).steps


@pytest.mark.exhaustive
def test_an_issuer_that_is_chosen_is_named_and_the_default_one_stays(moving: Moving) -> None:
    moving.swept.set_issuer(default=False)
    moving.swept.set_issuer("staging", server="https://ca.certjob.dev/other")
    legos(moving)
    moving.carry_out(moving.legos_plan(issuers={"kube-lego": ISSUER}))
    stored = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    assert stored["metadata"]["annotations"] == LEGO | {v.ISSUER: ISSUER}
    assert default_issuers(moving) == ["staging"]
    assert (moving.records()[0].phase, orders(moving.swept)) == (Phase.ISSUED, 0)
    assert moving.legos_plan(issuers={"kube-lego": ISSUER}).steps == ()


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://acme-v01.api.letsencrypt.org/directory", "https://acme-v02.api.letsencrypt.org/directory"),
        ("", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        ("https://ca.certjob.dev/dir", "https://ca.certjob.dev/dir"),
    ],
)
def test_its_server_in_version_2(url: str, server: str) -> None:
    assert kube_lego_of(deployment(LEGO_URL=url), {}).server == server


@pytest.mark.exhaustive
def test_variables_come_from_config_maps_too_and_not_from_secrets(moving: Moving) -> None:
    by_map = {"valueFrom": {"configMapKeyRef": {"name": "lego", "key": "lego.email"}}}
    by_secret = {"valueFrom": {"secretKeyRef": {"name": "lego", "key": "url"}}}
    lego = kube_lego_of(deployment(LEGO_EMAIL=by_map, LEGO_URL=by_secret), {"lego": {"lego.email": "a@certjob.dev"}})
    assert (lego.says("LEGO_EMAIL"), lego.unread, lego.home) == ("a@certjob.dev", ("LEGO_URL",), "kube-lego")
    install(moving, LEGO_MINIMUM_VALIDITY=by_map)
    moving.swept.api.add(CONFIGMAPS, "kube-lego", {"metadata": {"name": "lego"}, "data": {"lego.email": "240h"}})
    legos(moving)
    moving.carry_out(moving.legos_plan())
    stored = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    assert stored["metadata"]["annotations"] == LEGO | {v.RENEW_BEFORE: "10d"}


@pytest.mark.exhaustive
def test_another_annotation_is_said_in_certjobs_words(moving: Moving) -> None:
    install(moving, LEGO_KUBE_ANNOTATION="company.dev/tls")
    notes = {"company.dev/tls": "true"}
    legos(moving, notes=notes, annotations={v.TLS_ACME: "", **notes})
    moving.carry_out(moving.legos_plan())
    stored = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    assert stored["metadata"]["annotations"][v.ISSUER] == ISSUER
    assert orders(moving.swept) == 0


def test_what_kube_lego_has_not_written_stays(moving: Moving) -> None:
    legos(moving, notes={})
    plan = moving.legos_plan()
    assert rows(plan) == {"web-tls": "cannot"}
    assert "kubectl certjob adopt" in plan.rows[0].why


def test_google_load_balancers_merge_nothing(moving: Moving) -> None:
    legos(moving)
    body = moving.swept.api.stored(INGRESSES, "shop", "web")
    assert body is not None
    del body["spec"]["ingressClassName"]
    body["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "gce"
    moving.swept.api.add(INGRESSES, "shop", body)
    assert rows(moving.legos_plan()) == {"web-tls": "cannot"}


def test_what_no_host_shows_would_be_ordered(moving: Moving) -> None:
    legos(moving)
    moving.served = dict  # type: ignore[method-assign]
    plan = moving.legos_plan()
    assert rows(plan) == {"web-tls": "orders"}
    assert "no host has shown it" in plan.rows[0].why
    assert plan.steps == ()


def test_the_image_tells_it() -> None:
    assert is_kube_lego(deployment())
    for image in ("kube-lego-exporter:1", "registry/kube-legos", "nginx"):
        other = deployment()
        other["spec"]["template"]["spec"]["containers"][0]["image"] = image
        assert not is_kube_lego(other)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kill_at", range(1, 5))
def test_interrupted_after_each_write_the_next_run_finishes_it(moving: Moving, kill_at: int) -> None:
    legos(moving, "web")
    legos(moving, "api")
    assert len(list(moving.legos_plan().writes)) == 4
    with pytest.raises(Killed):
        moving.carry_out(moving.legos_plan(), kill_at=kill_at)
    moving.goes_on()
    moving.carry_out(moving.legos_plan())
    assert final(moving) == MOVED
    assert orders(moving.swept) == 0
    assert moving.legos_plan().steps == ()
