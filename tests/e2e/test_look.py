"""What the sweep sees in Secrets: missing, damaged, expired ones are ordered anew, an owner's good one stays."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509

from certs.authority import make_authority, make_leaf
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.record.record import Record
from tests.e2e import world
from tests.e2e.api import wait_for
from tests.load.lifecycle import sweep_as_job
from tests.observe import cluster

HOURLY = {"CERTJOB_SWEEP_INTERVAL": "3600"}
"""With a sweep an hour each of them looks at every Secret."""


def put(namespace: str, secret: str, host: str, *, made: datetime, key_of: datetime | None = None) -> str:
    """What somebody else writes: a certificate of 30 days from `made` on, with its key or another. Its serial."""
    authority = make_authority(now=made)
    leaf = make_leaf(authority, dns_names=(host,), now=made)
    other = make_leaf(authority, dns_names=(host,), now=key_of) if key_of else leaf
    stored = cluster().get(SECRETS, namespace, secret)
    stored["data"] |= {
        "tls.crt": b64encode(leaf.cert_chain_pems).decode(),
        "tls.key": b64encode(other.key_pem).decode(),
    }
    cluster().update(SECRETS, namespace, stored)
    return f"{x509.load_pem_x509_certificates(leaf.cert_chain_pems)[0].serial_number:x}"


def serial(record: Record | None) -> str:
    assert record is not None
    assert record.issued is not None
    return record.issued.serial


def orders(record: Record) -> int:
    return len([entry for entry in record.history if entry.event == "ordered"])


def test_what_an_hourly_look_finds(namespace: str) -> None:
    now, names = datetime.now(UTC), ("deleted", "mixed", "expired", "owners", "good")
    hosts = {f"{name}-tls": f"{name}.{namespace}.test" for name in names}
    for secret, host in hosts.items():
        world.create(namespace, world.manifest(secret.removesuffix("-tls"), [host], tls_acme="true"))
    before = {secret: serial(world.wait_issued(namespace, secret, [host])) for secret, host in hosts.items()}

    cluster().delete(SECRETS, namespace, "deleted-tls")
    put(namespace, "mixed-tls", hosts["mixed-tls"], made=now, key_of=now)
    put(namespace, "expired-tls", hosts["expired-tls"], made=now - timedelta(days=60))
    owners = put(namespace, "owners-tls", hosts["owners-tls"], made=now)
    assert sweep_as_job(environment=HOURLY).line("swept")

    def renewed(secret: str) -> Callable[[], bool]:
        return lambda: serial(world.record(namespace, secret)) != before[secret]

    for secret in ("deleted-tls", "mixed-tls", "expired-tls"):
        wait_for(renewed(secret), what=f"{secret} is issued anew", seconds=90)
        record = world.wait_issued(namespace, secret, [hosts[secret]])
        assert orders(record) == 2
    adopted, good = world.record(namespace, "owners-tls"), world.record(namespace, "good-tls")
    assert adopted is not None
    assert good is not None
    assert (serial(adopted), orders(adopted)) == (owners, 1)
    assert (serial(good), orders(good)) == (before["good-tls"], 1)
    stored = cluster().get(SECRETS, namespace, "owners-tls")
    assert stored["metadata"]["labels"][v.MANAGED] == "true"
    leaf = world.leaf(namespace, "owners-tls")
    assert leaf is not None
    assert leaf.serial_number == int(owners, 16)
