"""A real Prometheus scrapes certjob, and each alert fires once what it is about was caused; none of them else.

What takes months is caused in the records, by their administrator; everything else happens.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from certs.authority import LEAF_LIFETIME, make_leaf
from certs.keys import CertifiedKey
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.record.record import Issued
from issuer_job.upkeep.webhook.certificate import DNS_NAMES
from tests.e2e import world
from tests.e2e.api import Api, kubectl, path, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.own_issuer import OwnIssuer, own_issuer, stored_issuer
from tests.e2e.parts import scale
from tests.e2e.prometheus import Prometheus, prometheus
from tests.e2e.renewals import edit
from tests.e2e.sweeps import SWEEP, run_sweep, sweep_as_job
from tests.worlds.prometheus import alerts, dashboard

pytestmark = pytest.mark.usefixtures("no_sweeps")
POLICIES = "validatingadmissionpolicies.admissionregistration.k8s.io/v1"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as made:
        yield made


def test_every_pod_is_scraped_and_every_panel_has_its_answer(watched: Prometheus, namespace: str) -> None:
    host = f"seen.{namespace}.test"
    world.create(namespace, world.manifest("seen", [host], tls_acme="true"))
    world.wait_issued(namespace, "seen-tls", [host])
    run_sweep()
    pods = 5  # view, two of the webhook, two of the responder
    wait_for(lambda: sorted(watched.targets.values()) == ["up"] * pods, what="all pods are scraped")
    wait_for(
        lambda: bool(watched.query(f'certjob_certificate_ready{{namespace="{namespace}",name="seen-tls"}} == 1')),
        what="the certificate is told to be ready",
    )
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$issuer", ".*").replace("$__rate_interval", "1m")
            watched.query(expression)  # HTTP 400, if it could not be asked
    for name in ("certificates", "sweep_items", "webhook_requests_total", "responder_challenges", "issuer_limit"):
        assert watched.query(f"certjob_{name}"), name


def test_a_certificate_ends_unless_it_is_renewed(watched: Prometheus, namespace: str) -> None:
    hosts = {name: f"{name}.{namespace}.test" for name in ("ended", "ending", "failing")}
    for name, host in hosts.items():
        world.create(namespace, world.manifest(name, [host], tls_acme="true"))
    for name, host in hosts.items():
        world.wait_issued(namespace, f"{name}-tls", [host])

    def with_left(share: float, issued: Issued) -> Issued:
        now, life = datetime.now(UTC), 90 * DAY
        return replace(issued, not_before=now - life * (1 - share), not_after=now + life * share)

    edit(namespace, "ended-tls", lambda issued: with_left(0, issued))
    edit(namespace, "ending-tls", lambda issued: with_left(0.05, issued))
    watched.wait_firing("CertjobCertificateExpired", namespace=namespace, name="ended-tls")
    watched.wait_firing("CertjobCertificateExpiring", namespace=namespace, name="ending-tls")
    assert not watched.firing("CertjobCertificateExpired", namespace=namespace, name="ending-tls")

    further = f"further.{namespace}.test"  # Pebble may take the word of an earlier order for a host that it has seen
    world.break_dns(further)
    try:
        world.apply(namespace, world.manifest("failing", [hosts["failing"], further], tls_acme="true"))
        world.wait_phase(namespace, "failing-tls", "Waiting")
        edit(namespace, "failing-tls", lambda issued: with_left(0.2, issued))
        watched.wait_firing("CertjobCertificateRenewalFailing", namespace=namespace, name="failing-tls")
        assert not watched.firing("CertjobCertificateExpiring", namespace=namespace, name="failing-tls")
    finally:
        world.mend_dns(further)
    run_sweep()
    watched.wait_quiet("CertjobCertificateExpired", namespace=namespace)
    watched.wait_quiet("CertjobCertificateExpiring", namespace=namespace)


def forget_failing(watched: Prometheus, problem: str) -> None:
    """What earlier tests left behind that fails for this reason: the alert counts all of the cluster's."""
    for series in watched.query(f'certjob_certificate_failures{{type="{problem}"}}'):
        namespace, name = series["metric"]["namespace"], series["metric"]["name"]
        kubectl("delete", "ingress", "-n", namespace, "--all")
        kubectl("delete", "secret", "-n", namespace, "-l", f"{v.REQUEST}=true")
        kubectl("delete", "configmap", "-n", v.NAMESPACE, f"{namespace}.{name}", "--ignore-not-found")


def test_many_that_fail_for_one_reason_are_one_alert(watched: Prometheus, namespace: str) -> None:
    """Of a CA whose key nobody has put there."""
    forget_failing(watched, "brokenIssuer")
    with stored_issuer(f"keyless-{secrets.token_hex(3)}", type="ca") as issuer:
        for number in range(11):
            host = f"many{number}.{namespace}.test"
            world.create(namespace, world.manifest(f"many{number}", [host], tls_acme="true", issuer=issuer))
        watched.wait_firing("CertjobCertificateNotIssued", namespace=namespace)
        watched.wait_firing("CertjobProblemsManyAtOnce", type="brokenIssuer")
        watched.wait_quiet("CertjobCertificateNotIssued", namespace=namespace)
        kubectl("annotate", "ingress", "-n", namespace, "many0", f"{v.ISSUER}=pebble", "--overwrite")
        watched.wait_quiet("CertjobProblemsManyAtOnce", type="brokenIssuer")
        watched.wait_firing("CertjobCertificateNotIssued", namespace=namespace, name="many1-tls")
        kubectl("delete", "ingress", "-n", namespace, "--all")


def test_an_issuer_is_broken_and_another_near_its_limit(watched: Prometheus, namespace: str) -> None:
    name = f"broken-{secrets.token_hex(3)}"
    with stored_issuer(name, server="https://pebble.certjob.test:1/dir", privateNames=True):
        assert OwnIssuer(name).check() is not v.ExitCode.DONE
        watched.wait_firing("CertjobIssuerNotReady", issuer_name=name)
    watched.wait_quiet("CertjobIssuerNotReady", issuer_name=name)
    with own_issuer(f"full-{secrets.token_hex(3)}", limits={"perRegisteredDomain": 0, "orders": 1}) as full:
        world.create(namespace, world.manifest("full", [f"full.{namespace}.test"], tls_acme="true", issuer=full))
        world.wait_issued(namespace, "full-tls", [f"full.{namespace}.test"])
        run_sweep()
        watched.wait_firing("CertjobIssuerLimitNear", issuer_name=full, limit="orders")


def test_sweeps_stop(watched: Prometheus) -> None:
    """As the CronJob says; that none ever ended well is known after 20 minutes, which promtool sees."""

    def last(age: timedelta) -> None:
        ended = {"status": {"lastSuccessfulTime": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")}}
        command = ("patch", "cronjob", "-n", v.NAMESPACE, SWEEP, "--subresource=status", "--type=merge")
        kubectl(*command, "-p", json.dumps(ended))

    # The CronJob's controller would put the end of the youngest Job there again.
    kubectl("delete", "jobs", "-n", v.NAMESPACE, "-l", f"{v.APP_COMPONENT}=sweep")
    last(timedelta(minutes=21))
    try:
        watched.wait_firing("CertjobSweepStale")
    finally:
        last(timedelta(0))
    watched.wait_quiet("CertjobSweepStale")


@contextmanager
def without(admin: Api, policy: str) -> Iterator[None]:
    found = admin.call("GET", path(POLICIES, None, policy)).json
    assert admin.call("DELETE", path(POLICIES, None, policy)).status == 200
    try:
        yield
    finally:
        made = {**found, "metadata": {"name": policy, "labels": found["metadata"]["labels"]}}
        answer = admin.call("POST", path(POLICIES), made)
        assert answer.status == 201, answer


def test_a_policy_is_gone(watched: Prometheus, admin: Api) -> None:
    with without(admin, "certjob-configmaps"):
        wait_for(lambda: sweep_as_job().ending == "Error 11", what="a sweep finds it", seconds=120)
        watched.wait_firing("CertjobPoliciesNotInForce")
    wait_for(lambda: sweep_as_job().ending == "Completed 0", what="a sweep finds it there again", seconds=120)
    watched.wait_quiet("CertjobPoliciesNotInForce")


def test_the_webhook_is_gone_and_comes_back_with_a_certificate_that_is_about_to_end(watched: Prometheus) -> None:
    kubectl("scale", "-n", v.NAMESPACE, "deployment/certjob-webhook", "--replicas=0")
    try:
        watched.wait_firing("CertjobWebhookDown", seconds=120)
        show_one_that_ends_in(timedelta(days=5))
    finally:
        scale("certjob-webhook", 2)
    watched.wait_quiet("CertjobWebhookDown")
    watched.wait_firing("CertjobWebhookCertificateEnding")
    cluster().delete(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET)  # its CA is as young as the cluster: it is not due
    run_sweep()
    for pod in cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=webhook"):  # the kubelet looks at once
        kubectl("annotate", "pod", "-n", v.NAMESPACE, pod["metadata"]["name"], "tests/looked-at=now")
    watched.wait_quiet("CertjobWebhookCertificateEnding", seconds=120)


def show_one_that_ends_in(left: timedelta) -> None:
    """What the webhook's pods mount when they start."""
    stored = {name: cluster().get(SECRETS, v.NAMESPACE, name) for name in (v.WEBHOOK_CA_SECRET, v.WEBHOOK_TLS_SECRET)}
    pair = {key: b64decode(text) for key, text in stored[v.WEBHOOK_CA_SECRET]["data"].items()}
    made = datetime.now(UTC) + left - LEAF_LIFETIME
    leaf = make_leaf(CertifiedKey(pair["tls.key"], pair["tls.crt"]), dns_names=DNS_NAMES, now=made)
    serving = stored[v.WEBHOOK_TLS_SECRET]
    serving["data"] = {
        "tls.crt": b64encode(leaf.cert_chain_pems).decode(),
        "tls.key": b64encode(leaf.key_pem).decode(),
    }
    cluster().update(SECRETS, v.NAMESPACE, serving)


def test_the_view_is_gone(watched: Prometheus) -> None:
    kubectl("scale", "-n", v.NAMESPACE, "deployment/certjob-view", "--replicas=0")
    try:
        watched.wait_firing("CertjobViewAbsent")
    finally:
        scale("certjob-view", 1)
    watched.wait_quiet("CertjobViewAbsent")


def test_none_is_left_out() -> None:
    """Every alert is waited for above."""
    text = Path(__file__).read_text()
    assert {name for name in alerts() if f'wait_firing("{name}"' not in text} == set()
