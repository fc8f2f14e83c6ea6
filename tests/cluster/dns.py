"""The DNS servers that orders by DNS-01 meet: two bind9 and a PowerDNS, their zones and keys.

bind9 is the primary of all zones but one, takes updates signed with TSIG (RFC 2136), and looks everything else up.
The second bind9 follows it with zone transfers, as a zone's other name servers do. PowerDNS holds one zone behind its
HTTP API.
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.pki import write_private
from tests.cluster.report import ClusterError

TSIG_NAME = "certjob-test"
TSIG_ALGORITHM = "hmac-sha256"
PDNS_SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
PRIMARY, SECONDARY, PDNS = "bind9", "bind9-secondary", "powerdns"


@dataclass(frozen=True)
class Zone:
    """A zone of bind9.

    `secondary`: the second server is authoritative, too. `notify`: it is told of changes; otherwise it asks every
    `refresh` seconds and lags behind, as anycast networks do.
    """

    name: str
    secondary: bool = False
    notify: bool = False
    refresh: int = 3600


ZONES = (
    Zone("dns.test", secondary=True, notify=True),
    # For the targets of CNAMEs from _acme-challenge names of other zones.
    Zone("deleg.test"),
    Zone("lag.test", secondary=True, refresh=2),
)
PDNS_ZONE = "pdns.test"


def records(zone: str, servers: dict[str, str], *, refresh: int = 3600, dot: str = ".") -> list[tuple[str, str, str]]:
    """Owner, type and data of a new zone's records. Apex and wildcard lead to the node, that is to Traefik.

    `dot` is what ends a full name in the data.
    """
    soa = f"{next(iter(servers))}.{zone}{dot} hostmaster.{zone}{dot} 1 {refresh} 1 86400 1"
    answers = [(zone, "SOA", soa)]
    for server, address in servers.items():
        answers += [(zone, "NS", f"{server}.{zone}{dot}"), (f"{server}.{zone}", "A", address)]
    return [*answers, (zone, "A", s.NODE_IP), (f"*.{zone}", "A", s.NODE_IP)]


def zone_file(zone: Zone) -> str:
    """The zone as bind9 loads it for the first time; updates go to its journal."""
    servers = {"ns1": s.DNS_IP} | ({"ns2": s.DNS_SECONDARY_IP} if zone.secondary else {})
    lines = [f"{name}. 60 IN {kind} {data}" for name, kind, data in records(zone.name, servers, refresh=zone.refresh)]
    return "\n".join([*lines, ""])


def primary(state: Path) -> str:
    """named.conf of the primary, which is also everybody's recursive server."""
    zones = "\n".join(_primary_zone(zone) for zone in ZONES)
    return f"""{_common(state, PRIMARY, s.DNS_IP)}
{zones}
zone "{PDNS_ZONE}" {{ type forward; forward only; forwarders {{ {s.PDNS_IP}; }}; }};
zone "." {{ type forward; forward only; forwarders {{ {s.NODE_IP}; }}; }};
"""


def _primary_zone(zone: Zone) -> str:
    told = f"notify explicit; also-notify {{ {s.DNS_SECONDARY_IP}; }};" if zone.notify else "notify no;"
    kind = f'type primary; file "{zone.name}.zone"; allow-update {{ key "{TSIG_NAME}"; }};'
    return f'zone "{zone.name}" {{ {kind} {told} }};'


def secondary(state: Path) -> str:
    """named.conf of the second authoritative server."""
    kind = f'type secondary; primaries {{ {s.DNS_IP} key "{TSIG_NAME}"; }}; notify no; min-refresh-time 1;'
    zones = [f'zone "{zone.name}" {{ {kind} file "{zone.name}.zone"; }};' for zone in ZONES if zone.secondary]
    return "\n".join([_common(state, SECONDARY, s.DNS_SECONDARY_IP, recursion="no"), *zones, ""])


def _common(state: Path, name: str, address: str, *, recursion: str = "yes") -> str:
    return f"""include "{state}/{name}/tsig.conf";
options {{
  directory "{state}/{name}";
  listen-on {{ {address}; }};
  listen-on-v6 {{ none; }};
  query-source address {address};
  transfer-source {address};
  notify-source {address};
  pid-file none;
  lock-file none;
  session-keyfile none;
  recursion {recursion};
  allow-query {{ any; }};
  allow-recursion {{ any; }};
  allow-transfer {{ key "{TSIG_NAME}"; }};
  dnssec-validation no;
  empty-zones-enable no;
  minimal-responses yes;
  # Changes are told at once, not five seconds apart.
  notify-delay 0;
  serial-query-rate 1000;
  notify-rate 1000;
  # A resolver of a public CA keeps an answer for seconds; tests would have to wait for it.
  max-cache-ttl 0;
  max-ncache-ttl 0;
}};
# No remote control: the machine's own bind9 may have it.
controls {{ }};
"""


def tsig_file(secret: str) -> str:
    """The shared key, in a file of its own."""
    return f'key "{TSIG_NAME}" {{ algorithm {TSIG_ALGORITHM}; secret "{secret}"; }};\n'


def powerdns(state: Path, api_key: str) -> str:
    """pdns.conf. Nothing is cached: a change by the API is answered at once."""
    lines = {
        "launch": "gsqlite3",
        "gsqlite3-database": f"{state}/{PDNS}/zones.sqlite3",
        "gsqlite3-pragma-synchronous": "0",
        "local-address": s.PDNS_IP,
        "local-port": "53",
        "query-local-address": s.PDNS_IP,
        "api": "yes",
        "api-key": api_key,
        "webserver": "yes",
        "webserver-address": s.PDNS_IP,
        "webserver-port": str(s.PDNS_API_PORT),
        "webserver-allow-from": f"{s.POD_CIDR},{s.DNS_NETWORK}",
        "webserver-loglevel": "none",
        "cache-ttl": "0",
        "query-cache-ttl": "0",
        "negquery-cache-ttl": "0",
        "socket-dir": f"{state}/{PDNS}",
        "write-pid": "no",
        "disable-syslog": "yes",
        "daemon": "no",
        "guardian": "no",
        # It would ask a server of its makers.
        "security-poll-suffix": "",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def write(state: Path) -> None:
    """New keys, configurations and zones; what is left of an earlier cluster must be gone."""
    tsig, api_key = base64.b64encode(secrets.token_bytes(32)).decode(), secrets.token_hex(24)
    for name, configuration in ((PRIMARY, primary(state)), (SECONDARY, secondary(state))):
        (state / name).mkdir(mode=0o700)
        (state / name / "named.conf").write_text(configuration)
        write_private(state / name / "tsig.conf", tsig_file(tsig))
    for zone in ZONES:
        (state / PRIMARY / f"{zone.name}.zone").write_text(zone_file(zone))
    (state / PDNS).mkdir(mode=0o700)
    write_private(state / PDNS / "pdns.conf", powerdns(state, api_key))
    _write_database(state / PDNS / "zones.sqlite3")
    write_private(state / "dns-tsig", f"{TSIG_ALGORITHM}:{TSIG_NAME}:{tsig}")
    write_private(state / "dns-api-key", api_key)


def _write_database(path: Path) -> None:
    try:
        schema = PDNS_SCHEMA.read_text()
    except OSError as error:
        raise ClusterError(f"PowerDNS's schema is not where Debian has it: {PDNS_SCHEMA}") from error
    database = sqlite3.connect(path)
    try:
        database.executescript(schema)
        database.execute("INSERT INTO domains (id, name, type) VALUES (1, ?, 'NATIVE')", (PDNS_ZONE,))
        # In its database names do not end with a dot.
        rows = records(PDNS_ZONE, {"ns1": s.PDNS_IP}, dot="")
        insert = "INSERT INTO records (domain_id, name, type, content, ttl, auth) VALUES (1, ?, ?, ?, 60, 1)"
        database.executemany(insert, rows)
        database.commit()
    finally:
        database.close()
