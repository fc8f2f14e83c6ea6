"""The chart by Helm 3 and 4: over an installation by kustomize, through a release's life, in another namespace.

The records stay where they are all the time, so nothing may be ordered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import JOBS
from tests.cluster.settings import CHECKOUT
from tests.e2e import world
from tests.e2e.api import NewNamespace, kubectl, wait_for
from tests.e2e.asking import asking, send
from tests.e2e.helm import Helm, Seen, values, watched
from tests.e2e.observe import added_secret, cluster
from tests.e2e.overlay import INSTALL

ELSEWHERE = "tls-system"
INSTALLED_WITHIN = 60.0
KUSTOMIZES = f"{v.APP_COMPONENT}=bootstrap,app.kubernetes.io/managed-by!=Helm"
"""The Job that is done: what takes its place is of another name."""
CHANGED = {
    "webhook": {"resources": {"limits": {"memory": "200Mi"}}},
    "sweep": {"everyMinutes": 6, "resources": {"limits": {"memory": "260Mi"}}},
}
"""What rolls the webhook, and has bootstrap run again."""


@pytest.fixture(scope="module", autouse=True)
def _kustomize_afterwards() -> Iterator[None]:
    yield
    for namespace in (v.NAMESPACE, ELSEWHERE):
        Helm(4, namespace)("uninstall", "--ignore-not-found", "--wait")
    kubectl("delete", "namespace", ELSEWHERE, "--ignore-not-found", "--wait=false")
    subprocess.run([INSTALL], check=True, capture_output=True, timeout=240)


@pytest.fixture(scope="module")
def hosts(new_namespace: NewNamespace) -> tuple[str, list[str]]:
    """A tenant's namespace, and the hosts that are served from it."""
    namespace = new_namespace("helm")
    return namespace, issued(namespace)


def issued(namespace: str) -> list[str]:
    """The hosts of an Ingress and of a Secret that asks, whose certificates are there; the Ingress's is served."""
    host, asks = f"web.{namespace}.test", f"asks.{namespace}.test"
    world.create(namespace, world.manifest("web", [host], tls_acme="true"))
    send(namespace, asking(asks, name="asks-tls"))
    secrets = ("web-tls", "asks-tls")
    wait_for(lambda: all(trusted(namespace, name) for name in secrets), what="certificates are there", seconds=120)
    world.wait_served(host)
    return [host]


def trusted(namespace: str, secret: str) -> bool:
    leaf = world.leaf(namespace, secret)
    return leaf is not None and not world.holds_placeholder(namespace, secret)


def serials(namespace: str) -> list[int]:
    found = [world.leaf(namespace, secret) for secret in ("web-tls", "asks-tls")]
    return [leaf.serial_number for leaf in found if leaf is not None]


def orders() -> int:
    """How many the Pebbles have got."""
    logs = Path(os.environ["CERTJOB_CLUSTER_STATE"], "logs").glob("pebble*.log")
    return sum(log.read_text(errors="replace").count("Added order") for log in logs)


def nothing_went_wrong(seen: Seen) -> None:
    assert (seen.refused, seen.untrusted, seen.without_bundle) == ([], [], [])
    assert min(seen.admissions, seen.handshakes, seen.looks) > 10


def through_its_life(helm: Helm) -> None:
    """Tested, upgraded, rolled back and uninstalled, with what `helm test` says in between."""
    first = bootstraps()
    helm("test")
    helm.upgrade(values(**CHANGED))
    assert bootstraps() != first
    helm("rollback", "1", "--wait")
    helm("uninstall", "--wait")
    assert not bootstraps()


def bootstraps() -> set[str]:
    jobs = cluster().items(JOBS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=bootstrap")
    return {job["metadata"]["name"] for job in jobs}


@pytest.mark.parametrize("major", [4, 3], ids="helm{}".format)
def test_an_applications_chart_without_tls_keeps_the_entry_that_certjob_added(
    namespace: str, tmp_path: Path, major: int
) -> None:
    host = f"app.{namespace}.test"
    ingress = world.manifest("app", [host], bare=True, tls_acme="true")
    ingress["metadata"]["labels"] = {"team": "{{ .Values.team }}"}
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: app, version: 1.0.0}")
    (tmp_path / "templates/ingress.yaml").write_text(json.dumps(ingress))
    app = Helm(major, namespace, "app", tmp_path)
    app("install", str(tmp_path), given={"team": "one"})
    before = world.wait_issued(namespace, added_secret(host), [host])
    app("upgrade", str(tmp_path), given={"team": "two"})
    after = world.live(namespace, "app")
    assert after["metadata"]["labels"]["team"] == "two"
    assert after["spec"]["tls"] == [{"hosts": [host], "secretName": added_secret(host)}]
    assert world.record(namespace, added_secret(host)) == before


@pytest.mark.parametrize("major", [4, 3], ids="helm{}".format)
def test_installed_tested_upgraded_rolled_back_and_uninstalled(hosts: tuple[str, list[str]], major: int) -> None:
    """The first time over what kustomize has installed."""
    namespace, names = hosts
    before, ordered, helm = serials(namespace), orders(), Helm(major, v.NAMESPACE)
    with watched(namespace, names) as seen:
        if major == 4:
            helm.install(values(), "--take-ownership", "--force-conflicts")
            kubectl("delete", "jobs", "-n", v.NAMESPACE, "-l", KUSTOMIZES)
            helm("uninstall", "--wait")
        helm.install(values())
        assert helm.took["install"] <= INSTALLED_WITHIN
        through_its_life(helm)
    print(helm.took)
    nothing_went_wrong(seen)
    assert (serials(namespace), orders()) == (before, ordered)


def test_in_another_namespace(new_namespace: NewNamespace) -> None:
    """Where it has no records: with a first order, and all of its policies in force."""
    helm = Helm(3, ELSEWHERE)
    helm.install(values(sweep={"everyMinutes": 30}), "--take-ownership")
    namespace = new_namespace("elsewhere")
    world.wait_admitting(namespace)
    issued(namespace)
    done = subprocess.run(
        [sys.executable, "-m", "issuer_job", "self-test"],
        env=os.environ | {"CERTJOB_NAMESPACE": ELSEWHERE}, cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    helm("test")
    print(helm.took)
