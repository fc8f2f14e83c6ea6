"""`make scale`: what a sweep over many certificates takes when nothing, and when one percent, has to be done.

Ingresses, records, claims and Secrets with real certificates are made directly; the webhook is not asked about these
namespaces meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, MUTATING_WEBHOOKS, NAMESPACES, Json, Resource
from tests.e2e import parts, sweeps
from tests.e2e.api import admin, kubectl
from tests.e2e.observe import cluster, ingress
from tests.e2e.own_issuer import own_issuer
from tests.load import lifecycle
from tests.load.scale_world import NOWHERE, World
from tests.worlds.costs import hostile_ingress

QUOTAS = Resource("/api/v1", "resourcequotas")
CONFIGMAP_QUOTA = "count/configmaps"
NO_WEBHOOK = "certjob-tests/no-webhook"
"""Label on a namespace: the webhook is not asked."""
LARGE, HOSTS = 20, 30_000
"""Ingresses, and hosts in each: 16 MiB as JSON."""
RULES = 2000
"""And entries of spec.tls without hosts: four million names."""
SWEEP_LIMIT = 300.0
COUNTED_SWEEP = Path(__file__).with_name("counted_sweep.py")


def main() -> int:
    """The exit code is 1 if a sweep with nothing to do wrote something, or a sweep did not end well."""
    parser = argparse.ArgumentParser(prog="make scale", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="Ingresses, each with one certificate")
    parser.add_argument("--namespaces", type=int, default=50, help="over which they are spread")
    parser.add_argument("--trace", action="store_true", help="one more pass that says where the memory goes")
    options = parser.parse_args()
    tag = f"scale-{secrets.token_hex(3)}"
    spaces = [f"{tag}-{number}" for number in range(min(options.namespaces, options.count))]
    with (
        sweeps.sweeps_suspended(),
        room_for(2 * options.count),
        own_issuer(tag, server=NOWHERE) as issuer,
        lifecycle.forgotten(spaces),
        made_namespaces(spaces),
        webhook_not_asked(spaces[0]),
        service_account() as account,
    ):
        world = World(spaces, issuer, options.count)
        world.make()
        good = True
        for title in ("First pass, nothing to do", "Second pass, nothing to do"):
            good &= compare(title, world, account, idle=True)
        with hostile_ingresses(f"{tag}-hostile"):
            print(f"\nWith Ingresses of {HOSTS} hosts ({LARGE}) and of {RULES} rules and entries each", flush=True)
            compare("", world, account, idle=False)  # their owner is told
            good &= compare("Once more, nothing to do", world, account, idle=True)
        if options.trace:
            report("  traced", run_here(account, trace=True), world)
        share = max(options.count // 100, 2)
        print(f"\n1 % due or damaged ({share}, one half for each process)", flush=True)
        good &= report("  as a pod", due_before(world, range(share // 2), run_in_pod), world)
        good &= report("  here", due_before(world, range(share // 2, share), lambda: run_here(account)), world)
        lifecycle.wait_until_idle(spaces, 120)
        print("\nTidying up", flush=True)
    return 0 if good else 1


@contextmanager
def hostile_ingresses(space: str) -> Iterator[None]:
    """As large as the API server takes them, half of them opted in, in a namespace of their own."""
    bodies = [hostile_ingress(rules=HOSTS, name=f"hosts-{number}") for number in range(LARGE)]
    for body in bodies[::2]:
        body["metadata"]["annotations"] = {}
    with made_namespaces([space]):
        for body in (*bodies, hostile_ingress(rules=RULES, entries=RULES)):
            body["metadata"] |= {"namespace": space}
            cluster().create(INGRESSES, space, body)
        yield


def due_before(world: World, numbers: range, run: Callable[[], Json]) -> Json:
    """Damage these, then sweep."""
    for number in numbers:
        world.make_due(number)
    return run()


def compare(title: str, world: World, account: Path, *, idle: bool) -> bool:
    """The same sweep as a pod and here; whether both ended well and, if `idle`, wrote nothing."""
    print(f"\n{title}", flush=True)
    good = report("  as a pod", run_in_pod(), world, idle=idle)
    return report("  here", run_here(account), world, idle=idle) and good


def run_in_pod() -> Json:
    """A Job from the CronJob, with the sweep's image, identity and memory limit, that measures itself."""
    swept = sweeps.sweep_as_job(command=["python", "-c", COUNTED_SWEEP.read_text()])
    measured = swept.line("measured")
    return measured | {"ending": swept.ending, "job_seconds": swept.seconds, "swept": swept.line("swept")}


def run_here(account: Path, *, trace: bool = False) -> Json:
    """A process of this machine, from the checkout, with a token of the sweep's service account."""
    host, _, port = (account / "server").read_text().rpartition(":")
    environment = {
        "PATH": os.environ["PATH"],
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "CERTJOB_SERVICE_ACCOUNT": str(account),
    }
    if trace:
        environment["CERTJOB_TRACE"] = "1"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.load.counted_sweep"],
            cwd=parts.CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=SWEEP_LIMIT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"ending": f"not within {SWEEP_LIMIT:.0f} s"}
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found: Json = {"ending": f"exit code {done.returncode}", "swept": {}}
    for line in lines:
        found |= line if line["event"] == "measured" else {}
        found["swept"] = line if line["event"] == "swept" else found["swept"]
    if "seconds" not in found:
        print(f"  {done.stderr[-1000:]}", file=sys.stderr)
    return found


def report(label: str, measured: Json, world: World, *, idle: bool = False) -> bool:
    """Print one sweep's figures; whether it ended well."""
    if "seconds" not in measured:
        print(f"{label}: did not end, {measured['ending']}", flush=True)
        return False
    mine = [write for write in measured["writes"] if world.is_mine(write)]
    others = len(measured["writes"]) - len(mine)
    print(f"{label}: {measured['seconds']:.1f} s, CPU {measured['cpu_seconds']:.1f} s, ", end="")
    print(f"peak {measured['peak_mib']} MiB, received {measured['received_mib']} MiB, ", end="")
    print(f"{sum(measured['calls'].values())} calls, {len(mine)} writes", end="")
    print(f" (and {others} to what is not of this run)" if others else "", end="")
    print(f", {measured['ending']}")
    for kind, count in measured["calls"].items():
        print(f"      {count:6}  {kind}")
    swept = {key: value for key, value in measured["swept"].items() if key not in {"time", "level", "event"}}
    print(f"      swept: {swept}")
    for place in measured["memory"]:
        print(f"      {place}")
    if idle and mine:
        print(f"      written although nothing was to do: {mine[:5]}")
    sys.stdout.flush()
    return measured["exit_code"] == 0 and not (idle and mine)


@contextmanager
def made_namespaces(spaces: Sequence[str]) -> Iterator[None]:
    """The namespaces, deleted afterwards with all that is in them."""
    try:
        for space in spaces:
            metadata = {"name": space, "labels": {NO_WEBHOOK: "true"}}
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            cluster().create(NAMESPACES, None, body)
        yield
    finally:
        for space in spaces:
            cluster().delete(NAMESPACES, None, space)


@contextmanager
def webhook_not_asked(space: str) -> Iterator[None]:
    """Except the labelled namespaces, of which `space` is one, from the webhook; as it was afterwards."""
    _change_selectors(lambda others: [*others, {"key": NO_WEBHOOK, "operator": "DoesNotExist"}])
    try:
        probe = ingress("probe", ["probe.certjob.test"], bare=True)
        left_alone = sweeps.wait(
            lambda: "tls" not in cluster().create(INGRESSES, space, probe, dry_run=True)["spec"], 30
        )
        if not left_alone:
            sys.exit("the webhook is still asked about the namespaces of this run")
        yield
    finally:
        _change_selectors(lambda others: others)


def _change_selectors(change: Callable[[list[Json]], list[Json]]) -> None:
    """Rewrite the namespace selectors' expressions but our own."""

    def written() -> bool:
        configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        for webhook in configuration["webhooks"]:
            selector = webhook["namespaceSelector"]
            selector["matchExpressions"] = change([e for e in selector["matchExpressions"] if e["key"] != NO_WEBHOOK])
        cluster().update(MUTATING_WEBHOOKS, None, configuration)
        return True

    sweeps.wait(written, 30)


@contextmanager
def room_for(more: int) -> Iterator[None]:
    """Raise certjob's quota of ConfigMaps if so many more do not fit; as it was afterwards."""
    quota = cluster().get(QUOTAS, v.NAMESPACE, "certjob")
    hard, used = quota["spec"]["hard"].get(CONFIGMAP_QUOTA), quota["status"]["used"].get(CONFIGMAP_QUOTA)
    if hard is None or used is None or _number(used) + more + 100 <= _number(hard):
        yield
        return
    print(f"certjob's quota of {hard} ConfigMaps ({used} used) has no room for {more} more: raised meanwhile")
    _set_quota(str(_number(used) + more + 1000))
    try:
        yield
    finally:
        _set_quota(hard)


def _number(quantity: str) -> int:
    return int(quantity.removesuffix("k")) * (1000 if quantity.endswith("k") else 1)


def _set_quota(quantity: str) -> None:
    patch = json.dumps({"spec": {"hard": {CONFIGMAP_QUOTA: quantity}}})
    kubectl("patch", "resourcequota", "-n", v.NAMESPACE, "certjob", "--type=merge", "-p", patch)

    def in_force() -> bool:
        hard = cluster().get(QUOTAS, v.NAMESPACE, "certjob").get("status", {}).get("hard", {})
        return _number(hard.get(CONFIGMAP_QUOTA, "0")) == _number(quantity)

    sweeps.wait(in_force, 60)


@contextmanager
def service_account() -> Iterator[Path]:
    """A directory with what a pod of the sweep has mounted, and the API server's address."""
    endpoint, _ = admin()
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
    token = kubectl("create", "token", "sweep", "-n", v.NAMESPACE, "--duration=2h").strip()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)  # only its owner may look into it
        (directory / "token").write_text(token)
        (directory / "ca.crt").write_bytes(authority)
        (directory / "server").write_text(f"{endpoint.host}:{endpoint.port}")
        yield directory


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
