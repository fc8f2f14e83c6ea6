"""What the sweep sees in Secrets: missing, damaged, expired ones are ordered anew, and what was written over one."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from issuer_job import names as names_of
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.record.record import Record
from tests.e2e import world
from tests.e2e.api import wait_for
from tests.e2e.observe import cluster
from tests.e2e.renewals import HOURLY, issued_of, put, serial
from tests.e2e.sweeps import sweep_as_job

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""One would look in the middle of what is done to the Secrets."""


def orders(record: Record) -> int:
    return len([entry for entry in record.history if entry.event == "ordered"])


def test_what_an_hourly_look_finds(namespace: str) -> None:
    now, names = datetime.now(UTC), ("deleted", "mixed", "expired", "overwritten", "lost", "good")
    hosts = {f"{name}-tls": f"{name}.{namespace}.test" for name in names}
    for secret, host in hosts.items():
        world.create(namespace, world.manifest(secret.removesuffix("-tls"), [host], tls_acme="true"))
    before = {secret: serial(world.wait_issued(namespace, secret, [host])) for secret, host in hosts.items()}

    cluster().delete(SECRETS, namespace, "deleted-tls")
    put(namespace, "mixed-tls", hosts["mixed-tls"], made=now, key_of=now)
    mixed = cluster().get(SECRETS, namespace, "mixed-tls")
    mixed["data"]["dhparam.pem"] = further = b64encode(b"parameters").decode()
    cluster().update(SECRETS, namespace, mixed)
    put(namespace, "expired-tls", hosts["expired-tls"], made=now - timedelta(days=60))
    put(namespace, "overwritten-tls", hosts["overwritten-tls"], made=now)
    lost = world.wait_issued(namespace, "lost-tls", [hosts["lost-tls"]])
    cluster().delete(CONFIGMAPS, v.NAMESPACE, names_of.record(namespace, "lost-tls"))
    assert sweep_as_job(environment=HOURLY).line("swept")

    def renewed(secret: str) -> Callable[[], bool]:
        return lambda: serial(world.record(namespace, secret)) != before[secret]

    for secret in ("deleted-tls", "mixed-tls", "expired-tls", "overwritten-tls"):
        wait_for(renewed(secret), what=f"{secret} is issued anew", seconds=world.ISSUED_WITHIN)
        record = world.wait_issued(namespace, secret, [hosts[secret]])
        assert orders(record) == 2
    assert cluster().get(SECRETS, namespace, "mixed-tls")["data"]["dhparam.pem"] == further
    said = world.wait_event(namespace, "overwritten", "CertificateOverwritten")
    assert re.search("was overwritten by [^ ]+ at 20[^ ]+Z with one signed by 'certjob webhook CA'", said)
    good = world.record(namespace, "good-tls")
    assert good is not None
    assert (serial(good), orders(good)) == (before["good-tls"], 1)

    again = world.wait_issued(namespace, "lost-tls", [hosts["lost-tls"]])
    known, found = issued_of(lost), issued_of(again)
    assert orders(again) == 0
    assert (found.serial, found.directory, found.cert_id) == (known.serial, known.directory, known.cert_id)
