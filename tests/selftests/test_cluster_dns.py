"""The local cluster's DNS servers: zones, configurations, keys, and what the overlay's issuers say about them."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import dns.zone
import pytest
import yaml

from issuer_job.issuers.load import parse_issuer
from tests.cluster import config, namespace, parts, settings, start, tools
from tests.cluster import dns as servers
from tests.cluster.report import ClusterError

STATE = Path("/state")
SETTINGS = settings.Settings(cache=Path("/cache"), state=STATE)
OVERLAY = settings.CHECKOUT / "tests/cluster/overlay"
SCHEMA = """
CREATE TABLE domains (id INTEGER PRIMARY KEY, name, type);
CREATE TABLE records (domain_id, name, type, content, ttl, auth);
"""


def zone(name):
    return next(zone for zone in servers.ZONES if zone.name == name)


def parsed(name):
    return dns.zone.from_text(servers.zone_file(zone(name)), origin=name, relativize=False)


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory that `write` has filled."""
    schema = tmp_path / "schema.sql"
    schema.write_text(SCHEMA)
    monkeypatch.setattr(servers, "PDNS_SCHEMA", schema)
    servers.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [zone.name for zone in servers.ZONES])
def test_every_name_server_of_a_zone_has_an_address_in_it(name):
    there = parsed(name)
    addresses = {there.get_rdataset(server.target, "A")[0].address for server in there.get_rdataset(f"{name}.", "NS")}
    second = {settings.DNS_SECONDARY_IP} if zone(name).secondary else set()
    assert addresses == {settings.DNS_IP} | second


@pytest.mark.parametrize("name", [zone.name for zone in servers.ZONES])
def test_apex_and_wildcard_lead_to_traefik(name):
    there = parsed(name)
    for owner in (f"{name}.", f"*.{name}."):
        assert there.get_rdataset(owner, "A")[0].address == settings.NODE_IP


def test_the_lagging_zone_is_told_nothing_and_asks_by_itself():
    configuration = servers.primary(STATE)
    told = next(line for line in configuration.splitlines() if line.startswith('zone "dns.test"'))
    lagging = next(line for line in configuration.splitlines() if line.startswith('zone "lag.test"'))
    assert f"also-notify {{ {settings.DNS_SECONDARY_IP}; }}" in told
    assert "notify no;" in lagging
    assert parsed("lag.test").get_rdataset("lag.test.", "SOA")[0].refresh == 2


def test_updates_need_the_key():
    lines = [line for line in servers.primary(STATE).splitlines() if "type primary" in line]
    assert len(lines) == len(servers.ZONES)
    assert all(f'allow-update {{ key "{servers.TSIG_NAME}"; }}' in line for line in lines)


def test_the_second_server_has_only_its_zones_and_looks_nothing_up():
    configuration = servers.secondary(STATE)
    assert "recursion no;" in configuration
    assert [z.name for z in servers.ZONES if f'zone "{z.name}"' in configuration] == ["dns.test", "lag.test"]
    assert servers.PDNS_ZONE not in configuration


@pytest.mark.parametrize("configuration", [servers.primary(STATE), servers.secondary(STATE)])
def test_bind9_leaves_the_machines_own_alone(configuration):
    assert "pid-file none;" in configuration
    assert "controls { };" in configuration
    assert f'directory "{STATE}/' in configuration


def test_powerdns_asks_nobody_and_caches_nothing():
    options = dict(line.split("=", 1) for line in servers.powerdns(STATE, "key").splitlines())
    assert options["security-poll-suffix"] == ""
    assert {options[f"{cache}cache-ttl"] for cache in ("", "query-", "negquery-")} == {"0"}
    assert options["webserver-allow-from"].split(",") == [settings.POD_CIDR, settings.DNS_NETWORK]


def test_powerdns_finds_its_zone_in_its_database(state):
    with sqlite3.connect(state / servers.PDNS / "zones.sqlite3") as database:
        rows = set(database.execute("SELECT name, type, content FROM records WHERE type IN ('NS', 'A')"))
    database.close()
    assert ("pdns.test", "NS", "ns1.pdns.test") in rows
    assert ("ns1.pdns.test", "A", settings.PDNS_IP) in rows
    assert ("*.pdns.test", "A", settings.NODE_IP) in rows


def test_keys_are_for_root_only_and_the_servers_have_them(state):
    algorithm, name, secret = (state / "dns-tsig").read_text().split(":")
    api_key = (state / "dns-api-key").read_text()
    for server in (servers.PRIMARY, servers.SECONDARY):
        assert servers.tsig_file(secret) == (state / server / "tsig.conf").read_text()
        assert secret not in (state / server / "named.conf").read_text()
    assert f"api-key={api_key}\n" in (state / servers.PDNS / "pdns.conf").read_text()
    assert (algorithm, name) == ("hmac-sha256", "certjob-test")
    private = ["dns-tsig", "dns-api-key", "bind9/tsig.conf", "bind9-secondary/tsig.conf", "powerdns/pdns.conf"]
    assert {stat.S_IMODE((state / path).stat().st_mode) for path in private} == {0o600}


def test_every_start_has_other_keys(state, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    servers.write(other)
    for name in ("dns-tsig", "dns-api-key"):
        assert (state / name).read_text() != (other / name).read_text()


def test_a_missing_schema_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "PDNS_SCHEMA", tmp_path / "none.sql")
    with pytest.raises(ClusterError, match=r"schema is not where Debian has it: .*none\.sql"):
        servers.write(tmp_path)


def test_the_second_pebble_asks_bind9_and_the_first_does_not():
    there = parts.all_parts(SETTINGS)
    assert f"-dnsserver={settings.DNS_IP}:53" in there["pebble-dns"].argv
    assert f"-dnsserver={settings.NODE_IP}:53" in there["pebble"].argv
    assert there["pebble-dns"].env == there["pebble"].env
    assert ":14001" in config.pebble_dns(SETTINGS)
    assert ":14001" not in config.pebble(SETTINGS)


def test_every_dns_server_is_started_first_and_waited_for():
    wanted = {servers.PRIMARY, servers.SECONDARY, servers.PDNS, "pebble-dns"}
    assert wanted <= set(start.FIRST)
    assert wanted <= set(start.PROBES)


def test_the_namespace_has_an_address_for_each_dns_server():
    script = namespace.setup_script(STATE)
    assert all(address in script for address in (settings.DNS_IP, settings.DNS_SECONDARY_IP, settings.PDNS_IP))


def test_keys_are_handed_on_as_files():
    exported = config.environment_file(SETTINGS)
    assert "CERTJOB_DNS_TSIG_FILE='/state/dns-tsig'" in exported
    assert "CERTJOB_PDNS_API_KEY_FILE='/state/dns-api-key'" in exported


@pytest.mark.parametrize(
    ("name", "provider", "server"),
    [
        ("pebble-dns", "ddns", settings.DNS_IP),
        ("pebble-pdns", "powerdns", f"http://{settings.PDNS_IP}:{settings.PDNS_API_PORT}"),
    ],
)
def test_issuers_of_the_overlay_lead_to_the_servers(name, provider, server):
    document = (OVERLAY / f"{name}.yaml").read_text()
    issuer = parse_issuer({"metadata": {"name": name}, "data": {"issuer.yaml": document}})
    (solver,) = issuer.solvers
    assert solver.dns01.provider == provider
    assert list(solver.dns01.options.values()) == [server]
    assert solver.dns01.nameservers == (settings.DNS_IP,)
    assert issuer.server == f"https://{settings.PEBBLE_HOST}:{settings.PEBBLE_DNS_PORT}/dir"


def test_jobs_may_reach_what_the_issuers_name():
    policy = yaml.safe_load((OVERLAY / "network-policy.yaml").read_text())
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {settings.PEBBLE_PORT, settings.PEBBLE_DNS_PORT, settings.PDNS_API_PORT}


def test_no_package_starts_a_server_while_it_is_installed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with tools.no_start(policy):
        assert policy.read_text().endswith("exit 101\n")
        assert policy.stat().st_mode & stat.S_IXUSR
    assert not policy.exists()


def test_the_machines_own_policy_stays(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("mine")
    with tools.no_start(policy):
        assert policy.read_text() == "mine"
    assert policy.read_text() == "mine"
