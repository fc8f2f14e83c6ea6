"""`make bench`: how long an Ingress takes to be served, how many a burst makes, what admission costs, what it weighs.

Every load is bounded in count and time. The rate of empty Jobs is the machine's limit for one Job per order.
With `--keep FILE` what was measured is written into a file, part by part, with the load that the machine had before:
`make figures` draws docs/bench.json and writes it into README.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from issuer_job import names as names_of
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Json, Resource
from issuer_job.record import transitions
from issuer_job.record.record import Problem, Record
from issuer_job.record.store import to_config_map
from tests.e2e import world
from tests.e2e.api import wait_for
from tests.e2e.observe import PODS, Observer, cluster, ingress, namespace, webhook_path
from tests.e2e.pods import processes_of

PATIENCE = 240.0
SERVICES = Resource("/api/v1", "services")
JOB_IMAGE = "localhost/certjob-job:dev"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def main() -> int:
    """Run all, or what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--singles", type=int, default=10, help="Ingresses applied one after the other")
    parser.add_argument("--burst", type=int, default=60, help="Ingresses applied at once")
    parser.add_argument("--seconds", type=int, default=10, help="of admission load")
    parser.add_argument("--rate", type=int, default=100, help="admission requests a second")
    parser.add_argument("--only", choices=["singles", "again", "large", "burst", "jobs", "admission", "memory"])
    parser.add_argument("--keep", type=Path, help="a file of JSON, in which the parts that are run are replaced")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Json]] = {
        "singles": lambda: singles(options.singles),
        "again": lambda: again(options.singles),
        "admission": lambda: admission(options.rate, options.seconds),
        "burst": lambda: burst(options.burst),
        "jobs": lambda: empty_jobs(options.burst),
        "memory": memory,
        # Last: what it asks for is still being ordered when it ends.
        "large": lambda: large(options.singles),
    }
    for name, part in parts.items():
        if options.only in {None, name}:
            at, load = datetime.now(UTC), os.getloadavg()[0]
            figures = part()
            if options.keep:
                kept = json.loads(options.keep.read_text()) if options.keep.exists() else {}
                kept[name] = {"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "version": v.VERSION, "load": round(load, 1)}
                kept[name] |= {"cores": os.cpu_count(), "figures": figures}
                options.keep.write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def row(label: str, seconds: Sequence[float]) -> Json:
    """One line: p50, p95 and maximum in milliseconds. The same to be kept."""
    if not seconds:
        print(f"  {label:<48} none seen")
        return {}
    kept = figure(label, "ms", [one * 1000 for one in seconds])
    p50, p95, p99, most = (kept[label][which] for which in ("p50", "p95", "p99", "max"))
    print(f"  {label:<48} p50 {p50:7.0f}   p95 {p95:7.0f}   p99 {p99:7.0f}   max {most:7.0f} ms")
    return kept


def figure(label: str, unit: str, values: Sequence[float]) -> Json:
    """What is kept of some values, not none."""
    ordered = sorted(values)
    shares = {name: ordered[min(int(len(ordered) * q), len(ordered) - 1)] for name, q in QUANTILES.items()}
    return {label: {"unit": unit, "count": len(ordered), **{name: round(one, 2) for name, one in shares.items()}}}


def singles(count: int) -> Json:
    """One Ingress after the other, each awaited until it is served."""
    print(f"\nSingle applies ({count}, Traefik reloads at most every 2 s)")
    times: dict[str, list[float]] = {"create": [], "placeholder": [], "issued": [], "served": []}
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer:
        for number in range(count):
            host = f"single-{number}-{ns}.certjob.test"
            start = time.monotonic()
            cluster().create(INGRESSES, ns, ingress(f"s{number}", [host]))
            times["create"].append(time.monotonic() - start)
            observer.follow(host)
            observer.moments.wait(f"served {host}", PATIENCE)
            for what, key in (("placeholder", f"s{number}-tls"), ("issued", f"s{number}-tls"), ("served", host)):
                moment = observer.moments.at.get(f"{what} {key}")
                if moment is not None:
                    times[what].append(moment - start)
            time.sleep(2.5)  # the next one shall not find Traefik throttled by this one
        webhook = [
            line["milliseconds"] / 1000
            for line in _logs("webhook")
            if line["event"] == "admission" and line["namespace"] == ns and line["operation"] == "CREATE"
        ]
    kept = row("admission that creates everything (webhook)", webhook)
    kept |= row("admission that creates everything (API call)", times["create"])
    kept |= row("apply -> placeholder in the Secret", times["placeholder"])
    kept |= row("apply -> trusted certificate in the Secret", times["issued"])
    kept |= row("apply -> served by Traefik", times["served"])
    print(f"  served: {len(times['served'])} of {count}")
    return kept


def again(count: int) -> Json:
    """The Secret is deleted; the Ingress is corrected while a back-off runs."""
    print(f"\nAsked for again ({count} of each)")
    deleted: dict[str, list[float]] = {"placeholder": [], "issued": []}
    corrected: list[float] = []
    with namespace(f"bench-{secrets.token_hex(3)}") as ns:
        for number in range(count):
            name, secret, host = f"a{number}", f"a{number}-tls", f"a{number}.{ns}.certjob.test"
            cluster().create(INGRESSES, ns, ingress(name, [host]))
            former = world.wait_issued(ns, secret, [host]).issued
            time.sleep(2.5)  # the pod before shall be gone, and Traefik not throttled
            times = _asked_again(ns, secret)
            for what, seconds in times.items():
                deleted[what].append(seconds)
            before = world.wait_issued(ns, secret, [host])
            assert former != before.issued
            _fail(before)
            stored = cluster().get(INGRESSES, ns, name)
            stored["spec"]["ingressClassName"] = "corrected"
            start = time.monotonic()
            cluster().update(INGRESSES, ns, stored)
            after = world.record(ns, secret)
            if after is not None and after.epoch > before.epoch:
                corrected.append(time.monotonic() - start)
            world.wait_phase(ns, secret, "Issued")
    kept = row("delete -> placeholder in the Secret", deleted["placeholder"])
    kept |= row("delete -> trusted certificate in the Secret", deleted["issued"])
    return kept | row("correction during a back-off -> new attempt", corrected)


def _asked_again(namespace: str, secret: str) -> dict[str, float]:
    """Seconds from the deletion of the Secret until it was there again, and until it held a certificate."""
    start = time.monotonic()
    cluster().delete(SECRETS, namespace, secret)
    wait_for(lambda: world.leaf(namespace, secret) is not None, what="a placeholder", seconds=PATIENCE)
    placed = time.monotonic()
    wait_for(lambda: not world.holds_placeholder(namespace, secret), what="a certificate", seconds=PATIENCE)
    return {"placeholder": placed - start, "issued": time.monotonic() - start}


def _fail(record: Record) -> None:
    """As if its last attempt had failed, so that it waits for six hours."""
    problem = Problem(type="connection", detail="as in a bench", step="authorization")
    now = datetime.now(UTC)
    failed = transitions.waiting(record, now, problem=problem, wait=timedelta(hours=6))
    cluster().update(CONFIGMAPS, v.NAMESPACE, to_config_map(failed))


def large(count: int) -> Json:
    """As many hosts, and as many placeholders, as one admission sees to. They are gone before they are ordered."""
    print(f"\nLarge Ingresses, with all placeholders ({count} of each)")
    kept: Json = {}
    for hosts, entries in ((100, 1), (20, 20)):
        times = []
        with namespace(f"bench-{secrets.token_hex(3)}") as ns:
            for number in range(count):
                names = [f"h{host}.{number}.{ns}.certjob.test" for host in range(hosts)]
                wanted = [f"l{number}-{one}" for one in range(entries)]
                tls: list[Json] = [{"hosts": names[n::entries], "secretName": wanted[n]} for n in range(entries)]
                start = time.monotonic()
                cluster().create(INGRESSES, ns, world.manifest("large", names, tls=tls, tls_acme="true"))
                times.append(time.monotonic() - start)
                assert len(list(cluster().items(SECRETS, ns))) == entries * (number + 1)
                cluster().delete(INGRESSES, ns, "large")
                for secret in wanted:
                    cluster().delete(CONFIGMAPS, v.NAMESPACE, names_of.record(ns, secret))
        kept |= row(f"{hosts} hosts in {entries} of spec.tls: create -> answered", times)
    return kept


def burst(count: int) -> Json:
    """Many Ingresses at once."""
    print(f"\nBurst of {count} Ingresses")
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer, ThreadPoolExecutor(8) as pool:
        names = [f"b{number}" for number in range(count)]
        start = time.monotonic()
        list(
            pool.map(
                lambda name: cluster().create(INGRESSES, ns, ingress(name, [f"{name}-{ns}.certjob.test"])), names
            )
        )
        applied = time.monotonic() - start
        for name in names:
            observer.moments.wait(f"issued {name}-tls", max(start + PATIENCE - time.monotonic(), 0))
        done = [
            observer.moments.at[key] - start for name in names if (key := f"issued {name}-tls") in observer.moments.at
        ]
    kept = row(f"burst of {count}: apply -> trusted certificate in the Secret", done)
    print(f"  applied in {applied:.1f} s; issued {len(done)} of {count}, failed {count - len(done)}")
    if done:
        print(f"  rate: {len(done) / max(done):.2f} certificates/s")
        kept |= figure(f"burst of {count}: certificates", "/s", [len(done) / max(done)])
    return kept


def empty_jobs(count: int) -> Json:
    """As many Jobs that do nothing, with the same image: what the cluster can do at all."""
    print(f"\n{count} Jobs that do nothing (the limit of this cluster)")
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, ThreadPoolExecutor(8) as pool:
        start = time.monotonic()
        list(pool.map(lambda number: cluster().create(JOBS, ns, _empty_job(f"empty-{number}")), range(count)))
        while time.monotonic() - start < PATIENCE:
            jobs = list(cluster().items(JOBS, ns))
            if sum((job.get("status") or {}).get("succeeded", 0) for job in jobs) == count:
                rate = count / (time.monotonic() - start)
                print(f"  rate: {rate:.2f} Jobs/s")
                return figure(f"{count} Jobs that do nothing", "/s", [rate])
            time.sleep(0.2)
    print(f"  not done within {PATIENCE:.0f} s")
    return {}


def _empty_job(name: str) -> Json:
    container = {"name": "empty", "image": JOB_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["/bin/true"]}
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def admission(rate: int, seconds: int) -> Json:
    """Reviews of an Ingress that needs nothing new, at a steady rate, straight to the webhook's Service."""
    print(f"\nAdmission at {rate} requests/s for {seconds} s (an issued Ingress applied again)")
    with namespace(f"bench-{secrets.token_hex(3)}") as ns, Observer(ns) as observer:
        host = f"again-{ns}.certjob.test"
        cluster().create(INGRESSES, ns, ingress("again", [host]))
        observer.moments.wait("issued again-tls", PATIENCE)
        stored = cluster().get(INGRESSES, ns, "again")
        address = cluster().get(SERVICES, v.NAMESPACE, v.WEBHOOK_SERVICE)["spec"]["clusterIP"]
        times = _steady(lambda send: send(review_of(stored)), address, rate, seconds)
        kept = row("nothing new: issued and unchanged", times)
        del stored["metadata"]["annotations"][v.TLS_ACME]
        times = _steady(lambda send: send(review_of(stored)), address, rate, seconds)
        return kept | row("nothing new: opted out (skip)", times)


def _steady(
    request: Callable[[Callable[[Json], float]], float], address: str, rate: int, seconds: int
) -> list[float]:
    """Open loop: requests start on schedule, each timed from its due moment."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    idle: list[http.client.HTTPSConnection] = []
    path = webhook_path("annotated")
    begin = time.monotonic() + 0.5

    def one(number: int) -> float:
        due = begin + number / rate
        time.sleep(max(due - time.monotonic(), 0))
        connection = idle.pop() if idle else http.client.HTTPSConnection(address, 443, context=context, timeout=5)

        def send(review: Json) -> float:
            connection.request("POST", f"{path}?timeout=5s", json.dumps(review), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200 or not body["response"]["allowed"]:
                raise RuntimeError(f"the webhook answered {answer.status}: {body}")
            return time.monotonic() - due

        took = request(send)
        idle.append(connection)
        return took

    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(one, range(rate * seconds)))


def review_of(stored: Json) -> Json:
    """What the API server sends when somebody applies an Ingress as it is stored."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": secrets.token_hex(16),
            "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
            "resource": {"group": "networking.k8s.io", "version": "v1", "resource": "ingresses"},
            "name": stored["metadata"]["name"],
            "namespace": stored["metadata"]["namespace"],
            "operation": "UPDATE",
            "userInfo": {"username": "bench"},
            "object": stored,
            "oldObject": stored,
            "dryRun": False,
        },
    }


def memory() -> Json:
    """Memory of the pods' processes (the sum of their proportional set sizes), and the peak that Jobs log."""
    print("\nMemory")
    kept: Json = {}
    for component in ("webhook", "responder", "view"):
        sizes = []
        for pod in cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}={component}"):
            uid = pod["metadata"]["uid"]
            if (size := sum(_proportional_sizes(uid))) > 0:
                sizes.append(size / 1024)
        print(f"  {component:<48} {', '.join(f'{size:.0f} MiB' for size in sizes) or 'not running'}")
        kept |= figure(f"memory of a pod: {component}", "MiB", sizes) if sizes else {}
    peaks = [line["peak_mib"] for line in _logs("issue") if "peak_mib" in line]
    if peaks:
        print(
            f"  {'issue Job, peak':<48} p50 {statistics.median(peaks):.0f}, max {max(peaks):.0f} MiB of {len(peaks)}"
        )
        kept |= figure("memory of a Job, peak", "MiB", peaks)
    return kept


def _logs(component: str) -> list[Json]:
    """Every line that the pods of a component have logged."""
    selector = f"{v.APP_COMPONENT}={component}"
    text = subprocess.run(
        ["kubectl", "logs", "-n", v.NAMESPACE, "-l", selector, "--tail=-1", "--max-log-requests=500"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _proportional_sizes(pod_uid: str) -> list[int]:
    """KiB of every process in the pod's control group."""
    sizes = []
    for pid in processes_of(pod_uid):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes.append(int(rollup.partition("Pss:")[2].split()[0]))
        except (OSError, IndexError):
            continue
    return sizes


if __name__ == "__main__":
    sys.exit(main())
