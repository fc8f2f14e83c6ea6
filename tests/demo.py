"""`make demo`: applies one Ingress on the local cluster and prints what really happened, and when."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from datetime import datetime

from issuer_job import vocabulary as v
from tests.e2e.observe import Observer, added_secret, ingress, namespace, served, served_chain

PATIENCE = 60.0


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl; ends the demo if it fails."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    sys.stderr.write(done.stderr)
    return done.stdout


def main() -> int:
    """The exit code is 0 only if a certificate issued by Pebble is served, with chain and host name verified."""
    tag = secrets.token_hex(3)
    host = f"shop-{tag}.certjob.test"
    secret = added_secret(host)
    with namespace(f"demo-{tag}") as ns, Observer(ns) as observer:
        observer.follow(host)
        manifest = json.dumps(ingress("shop", [host], bare=True), indent=1)
        print(f'kubectl apply -n {ns} -f -   # Ingress shop, host {host}, kubernetes.io/tls-acme: "true"')
        wall, start = time.time(), time.monotonic()
        print(kubectl("apply", "-n", ns, "-f", "-", stdin=manifest), end="")
        observer.moments.mark("admitted")
        ok = observer.moments.wait(f"served {host}", PATIENCE)
        logs = kubectl("logs", "-n", v.NAMESPACE, "-l", f"certjob.io/namespace={ns}", "--tail=-1")
        _timeline(observer.moments.at, start, _log_moments(logs, wall, start), host, secret)
        print(f"\n$ kubectl get jobs -n {v.NAMESPACE}")
        print(kubectl("get", "jobs", "-n", v.NAMESPACE, "-l", f"certjob.io/namespace={ns}"), end="")
        print(f"\n$ kubectl get secret -n {ns} -l certjob.io/managed -L certjob.io/state")
        print(kubectl("get", "secret", "-n", ns, "-l", "certjob.io/managed", "-L", "certjob.io/state"), end="")
        print(f"\n$ kubectl describe ingress -n {ns} shop | tail -4")
        print("\n".join(kubectl("describe", "ingress", "-n", ns, "shop").splitlines()[-4:]))
        answer = served(host)
        if not ok or answer is None or not answer.trusted:
            print(f"\nNo certificate of Pebble is served for {host}. The Job's log:\n{logs}")
            return 1
        print(f"\nServed for {host}, verified against Pebble's root:")
        for depth, certificate in enumerate(served_chain(host) or [answer.leaf]):
            name = certificate.subject.rfc4514_string() or f"DNS:{host}"
            print(f"  {depth}  {name}")
            print(f"     issued by {certificate.issuer.rfc4514_string()}, ", end="")
            print(f"valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    print("\nThe cluster still runs. Look around with tests/cluster/run, for example:")
    print(f"  tests/cluster/run kubectl get jobs -n {v.NAMESPACE}")
    print(f"  tests/cluster/run kubectl logs -n {v.NAMESPACE} -l app.kubernetes.io/component=issue")
    print("  make bench, make e2e, make cluster-down; README.md says how to install on your own cluster.")
    return 0


def _log_moments(logs: str, wall: float, start: float) -> dict[str, float]:
    """Steps of the Job by name, on the monotonic clock."""
    found: dict[str, float] = {}
    for line in logs.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            found.setdefault(entry["event"], datetime.fromisoformat(entry["time"]).timestamp() - wall + start)
    return found


def _timeline(at: dict[str, float], start: float, steps: dict[str, float], host: str, secret: str) -> None:
    rows = {
        "admitted (kubectl apply returned)": at.get("admitted"),
        "placeholder in the Secret": at.get(f"placeholder {secret}"),
        "placeholder served by Traefik": at.get(f"placeholder served {host}"),
        "Job's pod created": at.get(f"job created {secret}"),
        "Job's pod running": at.get(f"job running {secret}"),
        "order created": steps.get("order-created"),
        "authorization valid": steps.get("authorized"),
        "certificate downloaded": steps.get("certificate"),
        "trusted certificate in the Secret": at.get(f"issued {secret}"),
        "trusted certificate served by Traefik": at.get(f"served {host}"),
    }
    print("\n  ms since apply")
    for label, moment in sorted(rows.items(), key=lambda row: row[1] or float("inf")):
        print(f"  {'not seen' if moment is None else f'{(moment - start) * 1000:8.0f}'}  {label}")


if __name__ == "__main__":
    sys.exit(main())
