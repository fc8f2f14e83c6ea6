"""What wildcard certificates by DNS-01 take: `tests/cluster/run .venv/bin/python -m tests.load.dns_bench`.

bind9 takes the updates, a second one follows it, and each order waits until both have its TXT record. Singles come
one after the other, each for a name of its own; the burst comes at once.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, Json
from tests.e2e import dns_world, world
from tests.e2e.observe import Observer, cluster, ingress, namespace
from tests.load.bench import PATIENCE, row


def main() -> int:
    """Both parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--singles", type=int, default=20, help="Ingresses applied one after the other")
    parser.add_argument("--burst", type=int, default=40, help="Ingresses applied at once")
    parser.add_argument("--zone", default="dns.test", choices=["dns.test", "lag.test", "pdns.test"])
    options = parser.parse_args()
    solver = dns_world.powerdns() if options.zone == "pdns.test" else dns_world.ddns()
    with dns_world.dns_issuer([solver]) as issuer:
        first(issuer, options.zone)
        if options.singles:
            singles(options.singles, issuer, options.zone)
        if options.burst:
            burst(options.burst, issuer, options.zone)
    return 0


def first(issuer: str, zone: str) -> None:
    """It makes the account, which all others find."""
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer:
        cluster().create(INGRESSES, ns, wildcard("first", ns, issuer, zone))
        observer.moments.wait("issued first-tls", PATIENCE)


def wildcard(name: str, namespace: str, issuer: str, zone: str) -> Json:
    """An Ingress for `*.NAME-NAMESPACE.ZONE`."""
    body = ingress(name, [f"*.{name}-{namespace}.{zone}"])
    body["metadata"]["annotations"][v.ISSUER] = issuer
    return body


def singles(count: int, issuer: str, zone: str) -> None:
    """One after the other, each awaited until its certificate is in the Secret."""
    print(f"\nSingle wildcards by DNS-01 in {zone} ({count})")
    times = []
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer:
        for number in range(count):
            start = time.monotonic()
            cluster().create(INGRESSES, ns, wildcard(f"s{number}", ns, issuer, zone))
            if observer.moments.wait(f"issued s{number}-tls", PATIENCE):
                times.append(observer.moments.at[f"issued s{number}-tls"] - start)
            time.sleep(1)
        row("apply -> trusted certificate in the Secret", times)
        print(f"  issued: {len(times)} of {count}")
        steps(ns)


def burst(count: int, issuer: str, zone: str) -> None:
    """Many at once."""
    print(f"\nBurst of {count} wildcards by DNS-01 in {zone}")
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer, ThreadPoolExecutor(8) as pool:
        names = [f"b{number}" for number in range(count)]
        start = time.monotonic()
        list(pool.map(lambda name: cluster().create(INGRESSES, ns, wildcard(name, ns, issuer, zone)), names))
        for name in names:
            observer.moments.wait(f"issued {name}-tls", max(start + PATIENCE - time.monotonic(), 0))
        keys = [f"issued {name}-tls" for name in names]
        done = [observer.moments.at[key] - start for key in keys if key in observer.moments.at]
        row("apply -> trusted certificate in the Secret", done)
        print(f"  issued: {len(done)} of {count}")
        if done:
            print(f"  rate: {60 * len(done) / max(done):.0f} certificates a minute")
        steps(ns)


def steps(namespace: str) -> None:
    """Where the Jobs' time went, from their logs."""
    lines: dict[str, list[float]] = defaultdict(list)
    for line in world.job_logs(namespace):
        if line["event"] in ("dns-presented", "dns-propagated"):
            lines[line["event"]].append(line["seconds"])
        if line["event"] == "ended":
            lines["Job, CPU"].append(line["cpu_seconds"])
            lines["Job, peak (MiB / 1000)"].append(line["peak_mib"] / 1000)
    for name, seconds in sorted(lines.items()):
        row(name, seconds)


if __name__ == "__main__":
    sys.exit(main())
