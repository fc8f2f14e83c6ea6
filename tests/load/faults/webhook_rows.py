"""The webhook's pods, its certificate and its CA, under admissions."""

from __future__ import annotations

import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.authority import AUTHORITY_LIFETIME, LEAF_LIFETIME, is_signed_by
from certs.keys import CertifiedKey, KeyAlgorithm, generate_key, key_from_pem
from certs.leaf import BACKDATED, PrivateAuthority, build_leaf, common_name
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, MUTATING_WEBHOOKS, SECRETS, Json
from issuer_job.polling import utc_now
from issuer_job.upkeep.webhook.certificate import DNS_NAMES
from tests.e2e.observe import PODS, cluster
from tests.e2e.sweeps import sweep_as_job
from tests.load.faults import machine
from tests.load.faults.admissions import Admissions, Reviews
from tests.load.faults.estate import Estate, estate
from tests.load.faults.report import Report, row

WEBHOOK_PORT = 8443
RATE = 50.0
AFTER = 10.0
"""Seconds of admissions after each disturbance."""
MOUNTED_SECONDS = 150.0
"""In which the kubelet brings a changed Secret into a pod, and the webhook serves it."""


@row("webhook-killed")
def killed(report: Report) -> None:
    """webhook pods killed (kill -9), one after the other, under 50 admissions/s"""
    _one_after_the_other(report, RATE, machine.kill_pod)


@row("webhook-drained")
def drained(report: Report) -> None:
    """webhook pods evicted as by a drain, one after the other, under 50 admissions/s"""

    def drain(name: str) -> None:
        end = time.monotonic() + machine.READY_SECONDS
        while not machine.evict(name) and time.monotonic() < end:
            time.sleep(1)

    _one_after_the_other(report, RATE, drain, missed=0)


@row("webhook-200")
def one_of_two_killed_at_200(report: Report) -> None:
    """one of two webhook pods killed (kill -9) under 200 reviews/s, sent as the API server sends them"""
    with estate("fault200", 1) as made:
        with Reviews(made.space, 200.0, stored=cluster().get(INGRESSES, made.space, "c0")) as load:
            time.sleep(AFTER)
            machine.kill_pod(machine.pods_of("webhook")[0])
            time.sleep(2 * AFTER)
        load.judge(report)
        report.most("p99", round(load.p99() * 1000), 100, " ms")
        report.holds("two pods ready again", again := machine.ready("webhook"), good=again)


def _one_after_the_other(
    report: Report, rate: float, disturb: Callable[[str], None], *, missed: int | None = None
) -> None:
    with estate("faultkill") as made:
        with Admissions(made.space, rate) as load:
            for name in machine.pods_of("webhook"):
                made.grow(5, rate=1)
                disturb(name)
                made.grow(5, rate=1)
                time.sleep(AFTER)
                report.holds(f"two pods ready after {name}", again := machine.ready("webhook"), good=again)
        load.judge(report, missed=missed)
        sweep_as_job()
        report.exactly("left out after a sweep", made.count - len(made.records()), 0)
        made.judge(report)


@row("webhook-rotated")
def rotated(report: Report) -> None:
    """serving certificate rotated under 50 admissions/s"""
    with estate("faultrot") as made, Admissions(made.space, RATE) as load:
        _serve(leaf := _leaf(age=timedelta(days=16)))
        _wait_served(report, "one that is due", lambda served: served == _serial(leaf))
        ended = sweep_as_job().ending
        report.holds("the sweep", ended, good=ended == "Completed 0")
        _wait_served(report, "the new one", lambda served: served != _serial(leaf))
        time.sleep(AFTER)
    load.judge(report, missed=0)


@row("webhook-expired")
def expired(report: Report) -> None:
    """serving certificate expired: healed by one sweep"""
    with estate("faultexp") as made:
        _serve(leaf := _leaf(age=timedelta(days=31)))
        _wait_served(report, "the expired one", lambda served: served == _serial(leaf))
        for name in machine.pods_of("webhook"):
            machine.kill_pod(name)  # the API server asks over connections from before for as long as there are some
        _wait_served(report, "the expired one, once more", lambda served: served == _serial(leaf))
        _heals(report, made, broken=True)


@row("webhook-secret")
def secret_deleted(report: Report) -> None:
    """the serving certificate's Secret deleted: healed by one sweep"""
    with estate("faultsec") as made:
        cluster().delete(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET)
        _heals(report, made)


@row("webhook-ca-key")
def ca_key_lost(report: Report) -> None:
    """the CA's Secret and with it its key deleted: healed by one sweep"""
    with estate("faultca") as made:
        cluster().delete(SECRETS, v.NAMESPACE, v.WEBHOOK_CA_SECRET)
        _heals(report, made)


@row("webhook-ca-bundle")
def ca_bundle_wiped(report: Report) -> None:
    """caBundle wiped: healed by one sweep"""
    with estate("faultbnd") as made:
        configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        for webhook in configuration["webhooks"]:
            webhook["clientConfig"].pop("caBundle", None)
        cluster().update(MUTATING_WEBHOOKS, None, configuration)
        _heals(report, made, broken=True)


@row("clock-ahead")
def clock_ahead(report: Report) -> None:
    """a sweep whose clock is 30 days ahead, and then one whose clock is right"""
    with estate("faultclk", 5) as made:
        before = made.serials()
        code = machine.sweep_beside(ahead=timedelta(days=30))
        report.note(f"the sweep of the future ended with {code.name}")
        _heals(report, made)
        report.holds("certificates not renewed for it", made.serials() == before, good=made.serials() == before)
        made.judge(report)


def _heals(report: Report, made: Estate, *, broken: bool = False) -> None:
    """One sweep, and admissions are answered as before. `broken`: they are not before it."""
    with Admissions(made.space, 10) as load:
        time.sleep(AFTER)
    report.note(f"before the sweep {load.missed} of {len(load.times)} admissions were missed")
    if broken:
        report.holds("broken", f"{load.missed} missed", good=load.missed > 0)
    report.exactly("refused before the sweep", len(load.refused), 0)
    ended = sweep_as_job().ending
    report.holds("the sweep", ended, good=ended == "Completed 0")
    seconds = machine.seconds_until(_trusted, MOUNTED_SECONDS)
    report.most("the certificate served is trusted again after the sweep within", round(seconds, 1), 120, " s")
    with Admissions(made.space, 10) as load:
        time.sleep(AFTER)
    load.judge(report, missed=0)


def _trusted() -> bool:
    """Whether every caBundle trusts what each pod serves now."""
    configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    bundles = [b64decode(webhook["clientConfig"].get("caBundle", "")) for webhook in configuration["webhooks"]]
    return all(_verifies(leaf, bundle) for leaf in served_leaves() for bundle in bundles)


def _verifies(leaf: x509.Certificate, bundle: bytes) -> bool:
    now = utc_now()
    if not bundle or not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        return False
    return any(is_signed_by(leaf.public_bytes(Encoding.PEM), pem) for pem in _each(bundle))


def _each(bundle: bytes) -> list[bytes]:
    return [found.public_bytes(Encoding.PEM) for found in x509.load_pem_x509_certificates(bundle)]


def _wait_served(report: Report, what: str, condition: Callable[[int], bool]) -> None:
    def served() -> bool:
        try:
            return all(condition(leaf.serial_number) for leaf in served_leaves())
        except OSError:  # a pod that is not ready yet
            return False

    seconds = machine.seconds_until(served, MOUNTED_SECONDS)
    report.most(f"{what} is served after", round(seconds, 1), MOUNTED_SECONDS, " s")


def served_leaves() -> list[x509.Certificate]:
    """What each of the webhook's pods serves."""
    pods = cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=webhook")
    addresses = [(pod["status"]["podIP"], WEBHOOK_PORT) for pod in pods if "podIP" in pod["status"]]
    served = [ssl.get_server_certificate(address, timeout=5) for address in addresses]
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in served]


def _leaf(*, age: timedelta) -> CertifiedKey:
    """One of that age that the present CA has signed, however young that is itself."""
    stored = cluster().get(SECRETS, v.NAMESPACE, v.WEBHOOK_CA_SECRET)["data"]
    key, made = key_from_pem(b64decode(stored["tls.key"])), utc_now() - age
    now = x509.load_pem_x509_certificate(b64decode(stored["tls.crt"]))
    then = x509.CertificateBuilder(now.issuer, now.subject, now.public_key(), now.serial_number)
    then = then.not_valid_before(made - BACKDATED).not_valid_after(made + AUTHORITY_LIFETIME)
    for extension in now.extensions:
        then = then.add_extension(extension.value, extension.critical)
    return build_leaf(
        DNS_NAMES,
        subject=common_name("certjob webhook"),
        key=generate_key(KeyAlgorithm.ECDSA_P256),
        now=made,
        lifetime=LEAF_LIFETIME,
        signer=PrivateAuthority(then.sign(key, SHA256()), key),
    )


def _serve(pair: CertifiedKey) -> None:
    secret: Json = cluster().get(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET)
    data = {"tls.crt": pair.cert_chain_pems, "tls.key": pair.key_pem}
    secret["data"] = {key: b64encode(value).decode() for key, value in data.items()}
    cluster().update(SECRETS, v.NAMESPACE, secret)


def _serial(pair: CertifiedKey) -> int:
    return x509.load_pem_x509_certificates(pair.cert_chain_pems)[0].serial_number
