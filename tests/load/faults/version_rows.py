"""Another version, and none at all: upgrade, rollback, uninstall, reinstall."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Json
from tests.cluster.settings import CHECKOUT
from tests.e2e import parts, sweeps
from tests.e2e.api import admin, kubectl, path
from tests.e2e.asking import asking
from tests.e2e.observe import cluster, ingress
from tests.e2e.sweeps import sweep_as_job
from tests.load.faults import former
from tests.load.faults.admissions import Admissions
from tests.load.faults.estate import Estate, estate
from tests.load.faults.report import Report, row
from tests.load.lifecycle import Sweeper
from tests.load.soak import Every, Handshakes

BEFORE, DURING, RATE = 10, 40, 4.0
SWEEP_SECONDS = 30.0
HEALED_SECONDS = 600.0
ISSUER = "pebble"
"""Of the installation itself: it comes back with it."""
LATER_VERSION = 99


@row("upgrade")
def upgrade_and_rollback(report: Report) -> None:
    """upgrade from the version before, and back, each under admissions and in the middle of 40 orders"""
    if not former.checkout().exists():
        report.holds("the version before", "name it: make faults FROM=REVISION", good=False)
        return
    try:
        install(former.checkout())
        with estate("faultver", BEFORE) as made:
            before = made.serials()
            _replace(report, made, CHECKOUT, "upgrade")
            _replace(report, made, former.checkout(), "rollback")
            kept = {name: serial for name, serial in made.serials().items() if name in before}
            report.holds("the same certificates as before", kept == before, good=kept == before)
            _refuses_later_records(report, made)
    finally:
        install(CHECKOUT)


def _replace(report: Report, made: Estate, version: Path, what: str) -> None:
    """Install that version in the middle of 40 orders and admissions."""
    with Admissions(made.space, 20) as load, Sweeper(SWEEP_SECONDS):
        growing = threading.Thread(target=lambda: made.grow(DURING, rate=RATE))
        growing.start()
        time.sleep(DURING / RATE / 2)
        install(version)
        growing.join()
        report.note(f"{what}: installed while {DURING} orders were made")
        made.judge(report, seconds=HEALED_SECONDS)
    load.judge(report)


def _refuses_later_records(report: Report, made: Estate) -> None:
    """A record of a later version is left as it is, and said to be one."""
    name = names.record(made.space, "c0-tls")
    stored = cluster().get(CONFIGMAPS, v.NAMESPACE, name)
    document = json.loads(stored["data"][v.RECORD_KEY])
    stored["data"][v.RECORD_KEY] = json.dumps(document | {"version": LATER_VERSION})
    kept = cluster().update(CONFIGMAPS, v.NAMESPACE, stored)
    swept = sweep_as_job()
    said = str(swept.line("record").get("problem", "nothing"))
    report.holds("the older sweep says", said, good="later certjob" in said)
    warned = kubectl("annotate", "ingress", "-n", made.space, "c0", "touched=now", "--overwrite")
    report.note(f"kubectl says: {warned.strip()}")
    now = cluster().get(CONFIGMAPS, v.NAMESPACE, name)
    same = now["data"] == kept["data"]
    report.holds("the later record as it was", same, good=same)
    now["data"][v.RECORD_KEY] = json.dumps(document)
    cluster().update(CONFIGMAPS, v.NAMESPACE, now)


@row("uninstall")
def uninstall(report: Report) -> None:
    """uninstalled as the README says (but for two policies), and installed again"""
    _uninstalled(report, lambda: _script(CHECKOUT, "--uninstall"))


@row("uninstall-all")
def uninstall_all(report: Report) -> None:
    """uninstalled with `kubectl delete -k` alone, and installed again once the API server was restarted"""
    _uninstalled(
        report,
        lambda: _script(CHECKOUT, "--uninstall", "--all"),
        before=lambda: parts.control("restart", "kube-apiserver"),
    )


@row("namespace-deleted")
def namespace_deleted(report: Report) -> None:
    """uninstalled by deleting the namespace alone, and installed again"""
    _uninstalled(report, lambda: kubectl("delete", "namespace", v.NAMESPACE, "--timeout=110s"))


def _uninstalled(
    report: Report, remove: Callable[[], object], *, before: Callable[[], object] = lambda: None
) -> None:
    with estate("faultgone", BEFORE, issuer=ISSUER) as made:
        serials = made.serials()
        asks = cluster().create(SECRETS, made.space, _asking(made, "asks-tls"))
        hosts = Handshakes([made.host(number) for number in made.numbers])
        sweeps.wait(lambda: _all_trusted(hosts), 60)
        hosts.failed.clear()
        try:
            with Every(1.0, hosts.look):
                with _rights(report):
                    remove()
                    time.sleep(2)
                _nothing_blocked(report, made, asks)
                before()
                install(CHECKOUT)
                with Sweeper(SWEEP_SECONDS):
                    made.judge(report, seconds=HEALED_SECONDS)
        finally:
            install(CHECKOUT)
        report.note(f"handshakes: {hosts.made}")
        report.exactly("handshakes that failed", sum(hosts.failed.values()), 0)
        report.holds("the same certificates as before", same := made.serials() == serials, good=same)


def _all_trusted(hosts: Handshakes) -> bool:
    hosts.look()
    return len(hosts.trusted) == len(hosts.hosts)


def _asking(made: Estate, name: str) -> Json:
    """A Secret that asks for its own certificate: its webhook is the one whose absence refuses."""
    return asking(f"{name}.{made.space}.certjob.test", name=name, data={"tls.crt": "", "tls.key": ""})


@contextmanager
def _rights(report: Report) -> Iterator[None]:
    """Meanwhile nobody with certjob's names may do what the policies forbid, not for a moment."""
    administrator, stop, allowed, asked = admin()[1], threading.Event(), list[str](), 0
    accounts = {name: f"system:serviceaccount:{v.NAMESPACE}:{name}" for name in ("job", "webhook", "sweep")}
    identities = {name: administrator.acting_as(user) for name, user in accounts.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certjob-forbidden"}, "type": "Opaque"}

    def ask() -> None:
        nonlocal asked
        while not stop.wait(0.02):
            for account, identity in identities.items():
                answer = identity.call("POST", path("secrets", "default"), body, dryRun="All")
                asked += 1
                if answer.status == 201:
                    allowed.append(account)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        report.note(f"forbidden creates tried meanwhile: {asked}")
        report.exactly("of them allowed", len(allowed), 0)


def _nothing_blocked(report: Report, made: Estate, asks: Json) -> None:
    """Whatever users do goes on without certjob."""
    problems = []
    stored = cluster().get(SECRETS, made.space, asks["metadata"]["name"])
    stored["metadata"]["annotations"]["touched"] = "now"
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "localhost/a:1"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "late"}, "spec": {"template": {"spec": pod}}}
    acts: dict[str, Callable[[], Json]] = {
        "make a Job": lambda: cluster().create(JOBS, made.space, job),
        "change a Secret that asks": lambda: cluster().update(SECRETS, made.space, stored),
        "make a Secret that asks": lambda: cluster().create(SECRETS, made.space, _asking(made, "later-tls")),
        "make an Ingress": lambda: cluster().create(INGRESSES, made.space, ingress("late", ["late.test"])),
    }
    for what, act in acts.items():
        try:
            act()
        except Exception as problem:  # noqa: BLE001 - which of them is what this tells
            problems.append(f"{what}: {problem}")
    report.holds("users' objects admitted", problems or "all", good=not problems)
    for resource, name in ((SECRETS, "later-tls"), (SECRETS, "asks-tls"), (INGRESSES, "late"), (JOBS, "late")):
        cluster().delete(resource, made.space, name)


def install(version: Path) -> None:
    """As its own `tests/cluster/install` does."""
    _script(version)


def _script(version: Path, *arguments: str) -> None:
    done = subprocess.run(
        [version / "tests/cluster/install", *arguments],
        cwd=version, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{version}/tests/cluster/install: {done.stderr[-300:]}")
