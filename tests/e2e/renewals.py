"""Renewals and other certificates in a Secret: brought about as administrator or owner, and waited for."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from msgspec.structs import replace

from certs.authority import make_authority, make_leaf
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Conflict
from issuer_job.record.record import Issued, Record, Renewal
from issuer_job.record.store import from_config_map, to_config_map
from tests.e2e import world
from tests.e2e.api import wait_for
from tests.e2e.observe import cluster
from tests.e2e.sweeps import sweep_until

HOURLY = {"CERTJOB_SWEEP_INTERVAL": "3600"}
"""With a sweep an hour each of them looks at every Secret."""

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


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


def issued_of(record: Record) -> Issued:
    assert record.issued is not None
    return record.issued


def edit(namespace: str, secret: str, change: Callable[[Issued], Issued]) -> None:
    """As administrator, change what the record says of its certificate."""
    while True:
        stored = cluster().get(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret))
        record = from_config_map(stored)
        try:
            cluster().update(
                CONFIGMAPS, v.NAMESPACE, to_config_map(replace(record, issued=change(issued_of(record))))
            )
            return
        except Conflict:
            continue


def make_due(namespace: str, secret: str) -> None:
    """As if the CA had suggested a moment that is past."""
    now = datetime.now(UTC)
    past = Renewal(check_after=now + DAY, at=now - HOUR, start=now - HOUR, end=now + HOUR)
    edit(namespace, secret, lambda issued: replace(issued, renewal=past, at=now - 60 * DAY))


def wait_renewed(namespace: str, secret: str, former: Record, *, seconds: float = 180) -> Record:
    """Wait until another certificate is issued, in the record and in the Secret."""
    wait_for(
        lambda: (
            issued_of(found).serial != issued_of(former).serial
            if (found := world.record(namespace, secret))
            else False
        ),
        what=f"{namespace}/{secret} is renewed",
        seconds=seconds,
    )
    return world.wait_issued(namespace, secret, issued_of(former).hosts)


def sweep_until_asked(namespace: str, secret: str) -> Renewal:
    """Until the CA has been asked when to renew it: one sweep asks for at most a hundred, and for the newest last."""

    def suggested() -> Renewal | None:
        found = world.record(namespace, secret)
        return None if found is None else issued_of(found).renewal

    sweep_until(lambda: suggested() is not None, what="the CA was asked")
    found = suggested()
    assert found is not None
    return found


def secret_data(namespace: str, secret: str) -> dict[str, bytes]:
    found = cluster().get(SECRETS, namespace, secret)["data"]
    return {key: b64decode(value) for key, value in found.items()}
