"""Certificates revoked by Jobs of their issuer: on the real API server, with its policies, and at Pebble."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from urllib.request import urlopen

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.checks.launch import LAUNCHED_EPOCH
from issuer_job.cluster.api import CONFIGMAPS, Json
from issuer_job.cluster.changes import change
from issuer_job.issuers.state import CHECKED_EPOCH, CLEANED_EPOCH, CLEANING_EPOCH
from issuer_job.record.record import Issued
from tests.e2e import world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.observe import cluster
from tests.e2e.sweeps import run_sweep

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""One would have the issuer's Job do what an operator or a test begins."""

SECRET = "web-tls"
LAST_JOBS = (LAUNCHED_EPOCH, CHECKED_EPOCH, CLEANING_EPOCH, CLEANED_EPOCH)


def status_at_the_ca(serial: str) -> str:
    """From Pebble's management port: Valid or Revoked, and why."""
    context = ssl.create_default_context(cafile=os.environ["CERTJOB_PEBBLE_CA"])
    url = f"{os.environ['CERTJOB_PEBBLE_MANAGEMENT']}/cert-status-by-serial/{serial}"
    with urlopen(url, context=context, timeout=5) as answer:
        found = json.load(answer)
    return f"{found['Status']} {found.get('Reason', '')}".strip()


def issued(namespace: str, host: str) -> Issued:
    found = world.wait_issued(namespace, SECRET, [host])
    assert found.issued is not None
    return found.issued


def revoke(namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "issuer_job", "revoke", namespace, SECRET, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_an_operator_revokes_and_another_key_and_certificate_are_there(new_namespace: NewNamespace) -> None:
    namespace = new_namespace("revoked")
    host = f"web.{namespace}.test"
    world.create(namespace, world.manifest("web", [host], tls_acme="true"))
    first = issued(namespace, host)
    assert status_at_the_ca(first.serial) == "Valid"
    done = revoke(namespace, "--reason", "keyCompromise")
    assert done.returncode == v.ExitCode.DONE, done.stdout + done.stderr
    assert status_at_the_ca(first.serial) == "Revoked 1"
    second = issued(namespace, host)
    assert (second.serial != first.serial, second.key_id != first.key_id) == (True, True)
    assert status_at_the_ca(second.serial) == "Valid"
    leaf = world.leaf(namespace, SECRET)
    assert leaf is not None
    assert f"{leaf.serial_number:x}" == second.serial
    assert world.events(namespace, "web", "CertificateRevoked")
    assert world.events(namespace, SECRET, "CertificateRevoked")
    again = revoke(namespace, "--serial", first.serial)
    assert again.returncode == v.ExitCode.DONE, again.stdout + again.stderr
    assert "it was revoked before" in again.stdout


def test_what_outlives_a_right_is_revoked(new_namespace: NewNamespace) -> None:
    former, next_one = new_namespace("former"), new_namespace("next")
    host = f"web.{former}.test"
    world.create(former, world.manifest("web", [host], tls_acme="true"))
    first = issued(former, host)
    command = [sys.executable, "-m", "issuer_job", "transfer-host", host, next_one]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    issuers_rested()
    try:
        run_sweep()
        wait_for(lambda: status_at_the_ca(first.serial) == "Revoked 5", what="it is revoked", seconds=120)
        wait_for(lambda: bool(world.events(former, "web", "CertificateRevoked")), what="it is told")
    finally:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, names.claim(host))


def issuers_rested() -> None:
    """As if their last Jobs were some minutes ago: sweeps leave a pause between those that clear things away."""
    for state in list(cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER_STATE}=true")):
        change(cluster(), CONFIGMAPS, v.NAMESPACE, state["metadata"]["name"], rested)


def rested(state: Json | None) -> Json | None:
    if state is None:
        return None
    epochs = {key: str(int(state["data"][key]) - 300) for key in LAST_JOBS if key in state["data"]}
    return state | {"data": state["data"] | epochs}


@pytest.fixture(autouse=True)
def no_revocations_left() -> None:
    """Those of earlier runs would be carried out with these."""
    for item in list(cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.REVOCATION}=true")):
        cluster().delete(CONFIGMAPS, v.NAMESPACE, item["metadata"]["name"])
