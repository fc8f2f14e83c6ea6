"""The chart on the cluster, by Helm 3 or 4, and what users see meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import MUTATING_WEBHOOKS, Json, NotFound
from tests.e2e import world
from tests.e2e.api import INGRESSES, SECRETS, Api, admin, path
from tests.e2e.asking import asking
from tests.e2e.observe import cluster, served
from tests.e2e.overlay import write_overlay
from tests.worlds.helm import CHART, program

PATIENCE = 110
"""Seconds for one command of Helm."""


@dataclass
class Helm:
    """One of its major versions, for one release; `took` is how many seconds each command was at it."""

    major: int
    namespace: str
    release: str = "certjob"
    chart: Path = CHART
    took: dict[str, float] = field(default_factory=dict)

    def __call__(self, verb: str, *arguments: str, given: Json | None = None) -> str:
        """Run a command on the release; what it said. Raises RuntimeError with what it said when it fails."""
        words = [verb, self.release, *arguments, "--namespace", self.namespace, "--timeout", f"{PATIENCE}s"]
        with tempfile.TemporaryDirectory() as home:  # it shall see nobody's plugins, and leave nothing behind
            places = {f"HELM_{place}_HOME": home for place in ("CACHE", "CONFIG", "DATA")}
            start = time.monotonic()
            done = subprocess.run(
                [program(f"helm{self.major}"), *words, *(() if given is None else ("--values", "-"))],
                input=json.dumps(given), capture_output=True, text=True, check=False,
                env=os.environ | places, timeout=2 * PATIENCE,
            )  # fmt: skip
        self.took[verb] = round(time.monotonic() - start, 1)
        if done.returncode:
            raise RuntimeError(f"helm {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def upgrade(self, given: Json, *arguments: str) -> None:
        self("upgrade", str(self.chart), "--wait", *arguments, given=given)

    def install(self, given: Json, *arguments: str) -> None:
        self("install", str(self.chart), "--wait", "--create-namespace", *arguments, given=given)


def values(**further: object) -> Json:
    """What installs certjob as the local cluster's overlay does."""
    with tempfile.TemporaryDirectory() as directory:
        overlay = write_overlay(Path(directory))
        files = {"pebble": "issuer.yaml", "pebble-dns": "pebble-dns.yaml", "pebble-pdns": "pebble-pdns.yaml"}
        issuers = {name: yaml.safe_load((overlay / file).read_text()) for name, file in files.items()}
    image = {"registry": "localhost", "tag": "dev"}
    return {"image": image, "issuers": issuers, "defaultIssuer": "pebble", **further}


@dataclass
class Seen:
    """What went wrong for users, and how often it was looked."""

    refused: list[str] = field(default_factory=list)
    admissions: int = 0
    untrusted: list[str] = field(default_factory=list)
    handshakes: int = 0
    without_bundle: list[str] = field(default_factory=list)
    looks: int = 0
    had_bundle: str = ""
    """The uid of the webhook configuration that had one in each of its entries."""


@contextmanager
def watched(namespace: str, hosts: list[str]) -> Iterator[Seen]:
    """Meanwhile Ingresses and Secrets that ask are admitted as dry runs, hosts' certificates and the webhook's CA
    looked at.
    """
    seen, stop, api = Seen(), threading.Event(), admin()[1]

    def every(seconds: float, look: Callable[[], None]) -> None:
        while not stop.wait(seconds):
            look()

    with ThreadPoolExecutor(3) as pool:
        looks = [
            pool.submit(every, 0.2, lambda: _admit(api, seen, namespace)),
            pool.submit(every, 0.5, lambda: _shake(seen, hosts)),
            pool.submit(every, 0.05, lambda: _bundles(seen)),
        ]
        try:
            yield seen
        finally:
            stop.set()
    for look in looks:
        look.result()


def _admit(api: Api, seen: Seen, namespace: str) -> None:
    for resource, body in (
        (INGRESSES, world.manifest("probe", [f"probe.{namespace}.test"], bare=True, tls_acme="true")),
        (SECRETS, asking(f"probe-asks.{namespace}.test", name="probe", data={"tls.crt": "", "tls.key": ""})),
    ):
        answer = api.call("POST", path(resource, namespace), body, dryRun="All")
        seen.admissions += 1
        if answer.status != 201:
            seen.refused.append(str(answer))
    api.close()  # of this thread


def _shake(seen: Seen, hosts: list[str]) -> None:
    for host in hosts:
        answer = served(host)
        seen.handshakes += 1
        if answer is None or not answer.trusted:
            seen.untrusted.append(host)


def _bundles(seen: Seen) -> None:
    seen.looks += 1
    try:
        found = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    except NotFound:
        return
    uid = found["metadata"]["uid"]
    lacking = [one["name"] for one in found["webhooks"] if not one["clientConfig"].get("caBundle")]
    if not lacking:
        seen.had_bundle = uid
    elif uid == seen.had_bundle or any(one.get("rules") for one in found["webhooks"] if one["name"] in lacking):
        seen.without_bundle.append(f"{uid}: {lacking}")
