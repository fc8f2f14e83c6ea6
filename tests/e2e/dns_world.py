"""Issuers that prove hosts over DNS on the local cluster's servers, and what those servers have."""

from __future__ import annotations

import os
import secrets
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dns.name
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.dns01.lookup import Lookup, NoAnswer
from issuer_job.dns01.solver import Dns01Solver
from issuer_job.issuers.load import parse_issuer
from issuer_job.polling import utc_now
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import own_issuer

PRIMARY = os.environ.get("CERTJOB_DNS_SERVER", "")
SECONDARY = os.environ.get("CERTJOB_DNS_SECONDARY", "")
POWERDNS = os.environ.get("CERTJOB_PDNS_SERVER", "")


def tsig_key() -> str:
    """The key with which bind9 takes updates, as lexicon's `auth_token`."""
    return Path(os.environ["CERTJOB_DNS_TSIG_FILE"]).read_text().strip()


def ddns(**fields: Any) -> Json:
    """A solver that sends updates to bind9 (RFC 2136). Fields of `dns01` as keywords."""
    return {"dns01": {"provider": "ddns", "options": {"ddns_server": PRIMARY}, "nameservers": [PRIMARY], **fields}}


def powerdns(**fields: Any) -> Json:
    """A solver that uses PowerDNS's HTTP API."""
    options = {"pdns_server": os.environ["CERTJOB_PDNS_URL"]}
    return {"dns01": {"provider": "powerdns", "options": options, "nameservers": [PRIMARY], **fields}}


def clean_leftovers(issuer: str, *, ahead: timedelta = timedelta(0)) -> int:
    """What a Job of the issuer does after a sweep, so much later; how many TXT records it has removed."""
    with TemporaryDirectory() as mounts:
        credentials = Path(mounts) / "credentials"
        credentials.mkdir()
        (credentials / "ddns.auth_token").write_text(tsig_key())
        deadline, pod = utc_now() + ahead + timedelta(minutes=4), Pod(issuer, "", 1, secrets.token_hex(8))
        attempt = Attempt(cluster(), pod, deadline, mounts=Path(mounts), clock=lambda: utc_now() + ahead)
        config = parse_issuer(cluster().get(CONFIGMAPS, v.NAMESPACE, issuer))
        return Dns01Solver(attempt).leftovers(config, issuer, deadline=deadline)


@contextmanager
def dns_issuer(solvers: Sequence[Json], *, credentials: dict[str, str] | None = None) -> Iterator[str]:
    """An issuer at the Pebble that asks bind9, with credentials for both servers unless others are given."""
    name = f"dns-{secrets.token_hex(4)}"
    data = credentials or {
        "ddns.auth_token": tsig_key(),
        "powerdns.auth_token": Path(os.environ["CERTJOB_PDNS_API_KEY_FILE"]).read_text().strip(),
    }
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": names.credentials(name), "namespace": v.NAMESPACE}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}
    cluster().create(SECRETS, v.NAMESPACE, body)
    try:
        with own_issuer(name, server=os.environ["CERTJOB_PEBBLE_DNS_DIRECTORY"], solvers=list(solvers)):
            yield name
    finally:
        cluster().delete(SECRETS, v.NAMESPACE, names.credentials(name))


def set_alias(name: str, target: str, *, zone: str = "dns.test") -> None:
    """Make a name an alias of another."""
    _replace(name, "CNAME", f"{target}.", zone=zone)


def set_address(name: str, address: str, *, zone: str = "dns.test") -> None:
    """Let a name lead to an address. The pods, who ask another server, go on to see the node's."""
    _replace(name, "A", address, zone=zone)


def _replace(name: str, kind: str, value: str, *, zone: str) -> None:
    algorithm, key, secret = tsig_key().split(":")
    update = dns.update.UpdateMessage(zone, keyring=dns.tsigkeyring.from_text({key: (algorithm, secret)}))
    update.replace(dns.name.from_text(name), 60, kind, value)
    assert dns.query.tcp(update, PRIMARY, timeout=5).rcode() == dns.rcode.NOERROR


def texts(name: str, *, server: str = PRIMARY) -> frozenset[str]:
    """The TXT values that a server has under a name."""
    try:
        return Lookup(((server, 53),)).texts((server, 53), name)
    except NoAnswer:
        return frozenset()


def trace(namespace: str, secret: str) -> Json | None:
    """The ConfigMap in which a record's TXT records are written down."""
    record = names.record(namespace, secret)
    found = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.DNS_CHALLENGE}=true")
    return next((one for one in found if one["metadata"]["annotations"][v.RECORD] == record), None)
