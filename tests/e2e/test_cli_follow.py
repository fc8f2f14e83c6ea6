"""`kubectl certjob` on the cluster: what waits and follows, how Ctrl-C ends it, and commands in a pod."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import POD_TEMPLATES, PODS, Json, Resource
from tests.e2e import parts, plugin, world
from tests.e2e.api import Api, NewNamespace, wait_for
from tests.e2e.api import kubectl as admins_kubectl
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import own_issuer
from tests.e2e.plugin import Plugin

pytestmark = pytest.mark.usefixtures("no_sweeps")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNTS = Resource("/api/v1", "serviceaccounts")


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return plugin.install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def held(new_namespace: NewNamespace) -> Iterator[str]:
    """A namespace with an attempt that goes on as long as no responder answers: certificate held-tls."""
    namespace = new_namespace()
    with own_issuer(f"held-{secrets.token_hex(3)}") as issuer, parts.scaled("certjob-responder", 0):
        world.create(namespace, world.manifest("held", [f"held.{namespace}.test"], issuer=issuer))
        world.wait_phase(namespace, "held-tls", "Authorizing")
        yield namespace


class Running:
    """A command that runs in a process group of its own, as at a terminal; what it prints is kept."""

    def __init__(self, kubectl: Plugin, *arguments: str) -> None:
        path = f"{kubectl.directory}:{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["kubectl", "certjob", *arguments],
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line)

    @property
    def text(self) -> str:
        return "".join(self.printed)

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.text, what=f"it prints {text!r}", seconds=30)

    def ended(self, seconds: float = 30) -> int:
        """Its exit code; all that it has started is gone by then."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        assert not self._reader.is_alive(), "something has its output still"
        return code

    def close(self) -> None:
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running(kubectl: Plugin, *arguments: str) -> Iterator[Running]:
    ran = Running(kubectl, *arguments)
    try:
        yield ran
    finally:
        if ran.process.poll() is None:
            os.killpg(ran.process.pid, signal.SIGKILL)
        ran.close()


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("wait", "held-tls"), "held-tls  "),
        (("wait", "not-there-yet"), "not-there-yet"),
        (("status", "-w"), "held-tls"),
        (("status", "-w", "-o", "json"), "held-tls"),
        (("logs", "-f", "held-tls"), "order-created"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "-",
)
def test_ctrl_c_ends_what_waits_with_130_and_all_that_it_has_started(
    kubectl: Plugin, held: str, arguments: tuple[str, ...], first: str
) -> None:
    with running(kubectl, *arguments, "-n", held) as ran:
        ran.wait_for(first)
        os.killpg(ran.process.pid, signal.SIGINT)
        assert ran.ended() == 130
        assert "Traceback" not in ran.text


def test_followed_logs_are_those_of_each_pod_until_the_attempt_has_ended(
    kubectl: Plugin, new_namespace: NewNamespace, admin: Api
) -> None:
    namespace = new_namespace()
    with own_issuer(f"followed-{secrets.token_hex(3)}") as issuer:
        with parts.scaled("certjob-responder", 0):
            world.create(namespace, world.manifest("shop", [f"shop.{namespace}.test"], issuer=issuer))
            world.wait_phase(namespace, "shop-tls", "Authorizing")
            with running(kubectl, "logs", "-f", "-n", namespace, "shop-tls") as ran:
                ran.wait_for("order-created")
                first = pods(namespace)
                assert [parts.evict(admin, pod) for pod in first] == [True]
                another = "the Job has made another pod"
                wait_for(lambda: not set(first).issuperset(pods(namespace)), what=another, seconds=60)
                assert ran.process.poll() is None
                parts.scale("certjob-responder", 2)
                assert ran.ended(90) == 0, ran.text
        steps = [line.split()[1] for line in ran.printed]
        assert steps.count("claimed") == 2, ran.text
        assert steps.index("order-created") < steps.index("order-resumed") < steps.index("issued")
        assert kubectl.certjob("logs", "-f", "-n", namespace, "shop-tls").stdout.splitlines()[-1] in ran.text


def pods(namespace: str) -> list[str]:
    """Of the namespace's attempts."""
    found = cluster().items(PODS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}")
    return [pod["metadata"]["name"] for pod in found]


ROOT = Path(plugin.ROOT)
EXTRA = Path(click.__file__).resolve().parents[1]
"""What `pip install 'certjob[cli]'` would bring besides what is in the image."""
IN_POD = """
export PYTHONPATH=/checkout:/app/lib:/extra
for words in "status" "wait --all --timeout 60s" "issuers" "renew shop-tls --dry-run=server" "version" "logs shop-tls"
do python -B -m issuer_job.cli $words; echo "== $words: $?"; done
"""


def account_with(namespace: str, name: str, *rights: tuple[str, str, str]) -> str:
    """A service account in the namespace; rights are kind and name of a role, and in which namespace it has them."""
    cluster().create(ACCOUNTS, namespace, {"metadata": {"name": name}})
    subject: Json = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    for number, (kind, role, where) in enumerate(rights):
        body: Json = {"metadata": {"name": f"{namespace}-{name}-{number}"}, "subjects": [subject]}
        body["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
        cluster().create(Resource(RBAC, "rolebindings"), where, body)
    return name


def said_in_pod(namespace: str, account: str) -> str:
    """What `IN_POD` prints, as a pod of that service account."""
    [template] = cluster().items(POD_TEMPLATES, v.NAMESPACE)
    image = template["template"]["spec"]["containers"][0]["image"]
    mounts = {"checkout": str(ROOT), "extra": str(EXTRA)}
    container: Json = {
        "name": "cli",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", IN_POD],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in mounts],
    }
    volumes = [{"name": name, "hostPath": {"path": path, "type": "Directory"}} for name, path in mounts.items()]
    spec = {"serviceAccountName": account, "restartPolicy": "Never", "containers": [container], "volumes": volumes}
    cluster().create(PODS, namespace, {"metadata": {"name": account}, "spec": spec})

    def has_ended() -> bool:
        return cluster().get(PODS, namespace, account)["status"].get("phase") in {"Succeeded", "Failed"}

    wait_for(has_ended, what="the pod has ended", seconds=120)
    return admins_kubectl("logs", "-n", namespace, account)


@pytest.fixture(scope="module")
def shop(new_namespace: NewNamespace) -> str:
    """A namespace with a certificate."""
    namespace = new_namespace()
    world.create(namespace, world.manifest("shop", [f"shop.{namespace}.test"], tls_acme="true"))
    world.wait_phase(namespace, "shop-tls", "Issued")
    return namespace


def test_in_a_pod_commands_have_the_rights_of_its_service_account(shop: str) -> None:
    tenant = said_in_pod(shop, account_with(shop, "tenant", ("ClusterRole", "edit", shop)))
    assert f"{shop}/shop-tls  Issued" in tenant
    for words in ("status", "wait --all --timeout 60s", "issuers", "renew shop-tls --dry-run=server", "version"):
        assert f"== {words}: 0\n" in tenant, tenant
    assert "(told from your own Ingresses, Secrets' metadata and Events" in tenant
    assert "== logs shop-tls: 3\n" in tenant


def test_in_a_pod_of_an_operators_they_read_the_records(shop: str) -> None:
    rights = (("ClusterRole", "view", shop), ("ClusterRole", "view", v.NAMESPACE))
    told = said_in_pod(shop, account_with(shop, "operator", *rights))
    assert "(told from" not in told
    for words in ("status", "wait --all --timeout 60s", "issuers", "version", "logs shop-tls"):
        assert f"== {words}: 0\n" in told, told
