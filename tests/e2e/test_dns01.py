"""DNS-01 for real: bind9 with TSIG updates and PowerDNS's API, Pebble asking them, Traefik serving."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES
from issuer_job.dns01 import trace
from issuer_job.dns01.providers import registry
from issuer_job.dns01.trace import TxtRecord
from issuer_job.issuers.schema import Dns01
from issuer_job.record.record import Intent, Phase, Record, Settings
from tests.e2e import dns_world, world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import cluster
from tests.e2e.sweeps import sweeps_suspended


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Zones at PowerDNS there, hosts outside of `.dns.test` and `.lag.test` by HTTP, all others at bind9."""
    solvers = [
        {"http01": {}},
        dns_world.powerdns() | {"selector": {"dnsZones": ["pdns.test"]}},
        dns_world.ddns() | {"selector": {"dnsZones": ["dns.test", "lag.test"]}},
    ]
    with dns_world.dns_issuer(solvers) as name:
        yield name


def logged(namespace: str, event: str) -> list[dict[str, Any]]:
    """Lines of one kind from the issue Jobs of a namespace."""
    return [line for line in world.job_logs(namespace) if line["event"] == event]


def wait_clean(namespace: str, secret: str, name: str, *, server: str = dns_world.PRIMARY) -> None:
    """Wait until neither DNS nor certjob knows of a TXT record any more."""
    wait_for(
        lambda: not dns_world.texts(name, server=server) and dns_world.trace(namespace, secret) is None,
        what=f"nothing is left at {name}",
    )


def test_a_wildcard_with_its_apex_is_issued_and_served(namespace: str, issuer: str) -> None:
    apex, wildcard = f"{namespace}.dns.test", f"*.{namespace}.dns.test"
    world.create(namespace, world.manifest("wild", [apex, wildcard], issuer=issuer))
    world.wait_issued(namespace, "wild-tls", [apex, wildcard])
    for host in (apex, f"any.{namespace}.dns.test"):
        world.wait_served(host)
    wait_clean(namespace, "wild-tls", f"_acme-challenge.{apex}")


def test_no_route_is_made_for_a_host_that_is_proven_over_dns(namespace: str, issuer: str) -> None:
    host = f"plain.{namespace}.dns.test"
    stored = world.create(namespace, world.manifest("plain", [host], bare=True, issuer=issuer))
    assert stored["spec"]["tls"]
    assert cluster().find(INGRESSES, v.NAMESPACE, names.route("field:traefik", host)) is None
    world.wait_issued(namespace, stored["spec"]["tls"][0]["secretName"], [host])
    assert not logged(namespace, "probe-host")


def test_one_order_mixes_http_and_dns(namespace: str, issuer: str) -> None:
    by_http, by_dns = f"web.{namespace}.test", f"*.{namespace}.dns.test"
    world.create(namespace, world.manifest("both", [by_http, by_dns], issuer=issuer))
    world.wait_issued(namespace, "both-tls", [by_http, by_dns])
    assert [line["host"] for line in logged(namespace, "probe-host")] == [by_http]


def test_powerdns_gets_a_wildcard_with_its_apex(namespace: str, issuer: str) -> None:
    apex, wildcard = f"{namespace}.pdns.test", f"*.{namespace}.pdns.test"
    world.create(namespace, world.manifest("power", [apex, wildcard], issuer=issuer))
    world.wait_issued(namespace, "power-tls", [apex, wildcard])
    world.wait_served(f"any.{namespace}.pdns.test")
    wait_clean(namespace, "power-tls", f"_acme-challenge.{apex}", server=dns_world.POWERDNS)


def test_an_alias_leads_to_another_zone(namespace: str) -> None:
    apex, target = f"{namespace}.dns.test", f"{namespace}.challenges.deleg.test"
    dns_world.set_alias(f"_acme-challenge.{apex}", target)
    with dns_world.dns_issuer([dns_world.ddns(aliasZones=["challenges.deleg.test"])]) as issuer:
        world.create(namespace, world.manifest("alias", [f"*.{apex}"], issuer=issuer))
        world.wait_issued(namespace, "alias-tls", [f"*.{apex}"])
        assert logged(namespace, "dns-presented")[0]["names"] == [target]
        wait_clean(namespace, "alias-tls", target)


def test_an_alias_leads_to_another_provider(namespace: str) -> None:
    apex, target = f"{namespace}.dns.test", f"{namespace}.pdns.test"
    dns_world.set_alias(f"_acme-challenge.{apex}", target)
    with dns_world.dns_issuer([dns_world.powerdns(aliasZones=["pdns.test"])]) as issuer:
        world.create(namespace, world.manifest("alias", [f"*.{apex}"], issuer=issuer))
        world.wait_issued(namespace, "alias-tls", [f"*.{apex}"])


def test_an_alias_that_a_tenant_chose_writes_nothing(namespace: str, issuer: str) -> None:
    host, target = f"evil.{namespace}.dns.test", f"x.www.{namespace}.challenges.deleg.test"
    dns_world.set_alias(f"_acme-challenge.{host}", target)
    world.create(namespace, world.manifest("alias", [host], issuer=issuer))
    told = world.wait_event(namespace, "alias", "CertificateFailed")
    assert target in told
    assert "aliasZones" in told
    assert not logged(namespace, "dns-presented")


def test_many_hosts_of_one_zone_are_one_order_and_one_login(namespace: str, issuer: str) -> None:
    hosts = [f"h{number}.{namespace}.dns.test" for number in range(15)]
    hosts += [f"*.h{number}.{namespace}.dns.test" for number in range(5)]
    world.create(namespace, world.manifest("many", hosts, issuer=issuer))
    world.wait_issued(namespace, "many-tls", hosts)
    assert len(logged(namespace, "dns-presented")) == 1
    for host in hosts[:5]:
        wait_clean(namespace, "many-tls", f"_acme-challenge.{host}")


@pytest.mark.parametrize("zone", ["dns.test", "pdns.test"])
def test_orders_of_one_name_at_once_keep_each_others_values(namespace: str, issuer: str, zone: str) -> None:
    wildcard = f"*.{namespace}.{zone}"
    for number in range(4):
        tls = [{"hosts": [wildcard], "secretName": f"same-{number}"}]
        world.create(namespace, world.manifest(f"same-{number}", [wildcard], tls=tls, issuer=issuer))
    for number in range(4):
        world.wait_issued(namespace, f"same-{number}", [wildcard])
    server = dns_world.POWERDNS if zone == "pdns.test" else dns_world.PRIMARY
    for number in range(4):
        wait_clean(namespace, f"same-{number}", f"_acme-challenge.{namespace}.{zone}", server=server)
    assert not logged(namespace, "failed")


def test_the_ca_is_told_when_a_slow_secondary_has_the_value_too(namespace: str, issuer: str) -> None:
    wildcard = f"*.{namespace}.lag.test"
    world.create(namespace, world.manifest("slow", [wildcard], issuer=issuer))
    world.wait_issued(namespace, "slow-tls", [wildcard])
    seen = logged(namespace, "dns-propagated")
    assert [(line["ok"], line["servers"], line["missing"]) for line in seen] == [(True, 2, [])]


def test_refused_credentials_are_said_and_not_shown(namespace: str) -> None:
    secret = "c2VjcmV0c2VjcmV0c2VjcmV0"
    wrong = {"auth_token": f"hmac-sha256:certjob-test:{secret}"}
    with dns_world.dns_issuer([dns_world.ddns()], credentials=wrong) as issuer:
        world.create(namespace, world.manifest("wrong", [f"*.{namespace}.dns.test"], issuer=issuer))
        record = world.wait_phase(namespace, "wrong-tls", "Waiting")
        assert record.retry is not None
        assert record.retry.problem.type == "dnsProvider"
        assert "refused the credentials" in record.retry.problem.detail
        said = f"{world.job_logs(namespace)} {record} {world.wait_event(namespace, 'wrong', 'CertificateFailed')}"
        assert secret not in said


def test_the_next_pod_cleans_up_after_one_that_was_killed(namespace: str, issuer: str) -> None:
    wildcard = f"*.{namespace}.lag.test"
    world.create(namespace, world.manifest("killed", [wildcard], issuer=issuer))
    wait_for(lambda: dns_world.trace(namespace, "killed-tls") is not None, what="the TXT record is written down")
    selector = f"{v.RECORD_NAMESPACE}={namespace}"
    kubectl("delete", "pod", "-n", v.NAMESPACE, "-l", selector, "--grace-period=0", "--force")
    world.wait_issued(namespace, "killed-tls", [wildcard])
    wait_clean(namespace, "killed-tls", f"_acme-challenge.{namespace}.lag.test")


def test_what_an_attempt_left_whose_record_is_gone_is_cleaned_with_the_issuers_credentials(
    namespace: str, issuer: str
) -> None:
    name, value = f"_acme-challenge.{namespace}.dns.test", "v" * 43
    keys = {"ddns.auth_token": dns_world.tsig_key().encode()}
    solver = msgspec.convert(dns_world.ddns()["dns01"], Dns01)
    registry.open_zone(solver, zone="dns.test", mounted=keys.get).add(name, value)
    gone = record_of(namespace, issuer)
    txt = TxtRecord(name=name, zone="dns.test", value=value, host=name, provider="ddns", issuer=issuer, epoch=1)
    with sweeps_suspended():  # one would have the issuer's own Job do it
        trace.write_down(cluster(), gone, [txt])
        left = trace.left_over(cluster(), [], now=datetime.now(UTC))
        assert issuer in {one.issuer for _, nobodys in left for one in nobodys}
        assert dns_world.clean_leftovers(issuer) == 1
        wait_clean(namespace, "gone-tls", name)


def record_of(namespace: str, issuer: str) -> Record:
    """A certificate record that is not stored."""
    intent = Intent(hosts=(f"*.{namespace}.dns.test",), settings=Settings(issuer=issuer))
    now = datetime.now(UTC)
    return Record(
        namespace=namespace,
        secret_name="gone-tls",
        phase=Phase.ISSUED,
        intent=intent,
        sources=(),
        since=now,
        uid=str(uuid4()),
    )
