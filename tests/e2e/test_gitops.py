"""docs/gitops.md: certjob under tools that compare what is there with what they have applied, Argo CD and Flux."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, LEASES, SECRETS, Json
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import PODS, added_secret, cluster
from tests.e2e.overlay import write_overlay
from tests.e2e.sweeps import CRON_JOBS, SWEEP
from tests.worlds.documents import ROOT

PAGE = (ROOT / "docs/gitops.md").read_text()
DOCUMENTS: list[Json] = [
    document
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]
BOOTSTRAP = f"{v.APP_COMPONENT}=bootstrap"
CHANGED = """
resources: [../tests/cluster/overlay]
patches:
- target: {kind: Job, name: certjob-bootstrap}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: ANOTHER, value: specification}}
"""


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """Without credentials, which kustomize writes over several lines: the API server does not."""
    found = write_overlay(tmp_path)
    file = found / "kustomization.yaml"
    document = yaml.safe_load(file.read_text())
    del document["secretGenerator"]
    file.write_text(yaml.safe_dump(document))
    return found


def bootstrap(overlay: Path) -> Json:
    """The bootstrap Job that an overlay has."""
    (job,) = (o for o in yaml.safe_load_all(kubectl("kustomize", str(overlay))) if o["kind"] == "Job")
    found: Json = job
    return found


def objects(printed: str) -> list[Json]:
    """What kubectl printed as JSON: a list, or one object after the other."""
    decoder = json.JSONDecoder()
    found: list[Json] = []
    while printed := printed.lstrip():
        read, end = decoder.raw_decode(printed)
        found += read["items"] if read["kind"] == "List" else [read]
        printed = printed[end:]
    return found


def compared(overlay: Path) -> list[Json]:
    """What is there of an overlay's objects, as tools compare it."""
    return [without_bookkeeping(found) for found in objects(kubectl("get", "-k", str(overlay), "-o", "json"))]


def without_bookkeeping(found: Json) -> Json:
    """But for how it is, when that was said, and who manages which field, which each tool writes down for itself."""
    metadata = {key: x for key, x in found["metadata"].items() if key not in {"managedFields", "resourceVersion"}}
    return {key: x for key, x in found.items() if key != "status"} | {"metadata": metadata}


def test_another_apply_of_the_same_changes_nothing(overlay: Path) -> None:
    before = compared(overlay)
    lines = kubectl("apply", "-k", str(overlay)).splitlines()
    assert len(lines) > 50
    budgets = [line for line in lines if not line.endswith(" unchanged")]  # whose selector kubectl sends each time
    assert all(line.startswith("poddisruptionbudget.policy/") for line in budgets)
    assert compared(overlay) == before


@pytest.mark.parametrize("manager", ["argocd-controller", "kustomize-controller"])
def test_tools_that_apply_on_the_server_see_no_difference(overlay: Path, manager: str) -> None:
    """As Argo CD's server-side diff and Flux do: a dry run that takes fields over, compared with what is there."""
    options = ("--server-side", "--force-conflicts", "--dry-run=server", f"--field-manager={manager}", "-o", "json")
    would_be = objects(kubectl("apply", "-k", str(overlay), *options))
    assert len(would_be) > 50
    assert [without_bookkeeping(found) for found in would_be] == compared(overlay)


def test_another_image_is_another_job(overlay: Path) -> None:
    before = bootstrap(overlay)["metadata"]["name"]
    kustomization = overlay / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("newTag: dev", "newTag: later", 1))
    after = bootstrap(overlay)["metadata"]["name"]
    assert after != before
    said = kubectl("apply", "-k", str(overlay), "-l", BOOTSTRAP, "--dry-run=server")
    assert said == f"job.batch/{after} created (server dry run)\n"


def test_an_upgrade_deletes_nothing_first_and_the_new_job_clears_the_finished_ones_away(overlay: Path) -> None:
    """Also where the version before was, whose Job had one name for all, and had to be gone before an apply."""
    name, former = bootstrap(overlay)["metadata"]["name"], bootstrap(overlay)
    former["metadata"]["name"] = "certjob-bootstrap"
    del former["metadata"]["labels"][v.APP_VERSION]
    former["spec"]["suspend"] = True
    cluster().create(JOBS, v.NAMESPACE, former)
    try:
        assert kubectl("apply", "-k", str(overlay), "-l", BOOTSTRAP).endswith(" unchanged\n")
        kubectl("label", "job", "-n", v.NAMESPACE, name, f"{v.APP_VERSION}=0.0.9", "--overwrite")
        second = run(changed(overlay))
        assert name not in jobs() >= {second, "certjob-bootstrap"}  # which is not finished
        wait_for(
            lambda: not list(cluster().items(PODS, v.NAMESPACE, labels=f"job-name={name}")),
            what="the pods of the Job before are gone",
        )
    finally:
        cluster().delete(JOBS, v.NAMESPACE, "certjob-bootstrap")
        assert run(overlay) == name
        cluster().delete(JOBS, v.NAMESPACE, bootstrap(changed(overlay))["metadata"]["name"])


def test_whoever_waits_by_label_finds_no_job_of_the_version_gone(overlay: Path) -> None:
    """Another image within a version: the Job before it stays."""
    first = run(overlay)
    second = run(changed(overlay))
    try:
        assert jobs() >= {first, second}
    finally:
        cluster().delete(JOBS, v.NAMESPACE, second)


def changed(overlay: Path) -> Path:
    """An overlay whose bootstrap Job is another one."""
    found = overlay.parents[2] / "changed"
    found.mkdir(exist_ok=True)
    (found / "kustomization.yaml").write_text(CHANGED)
    return found


def jobs() -> set[str]:
    """Names of the bootstrap Jobs that are there."""
    return {job["metadata"]["name"] for job in cluster().items(JOBS, v.NAMESPACE, labels=BOOTSTRAP)}


def run(overlay: Path) -> str:
    """Apply its bootstrap Job and wait, as the README does, for all that there are of the version; its name."""
    kubectl("apply", "-k", str(overlay), "-l", BOOTSTRAP)
    of_version = f"{BOOTSTRAP},{v.APP_VERSION}={v.VERSION}"
    kubectl("wait", "-n", v.NAMESPACE, "--for=condition=complete", "job", "-l", of_version, "--timeout=110s")
    name: str = bootstrap(overlay)["metadata"]["name"]
    return name


def test_a_hook_after_the_sync_waits_for_certificates_with_the_rights_of_the_page(
    namespace: str, tmp_path: Path
) -> None:
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [of("ServiceAccount"), of("Role"), of("RoleBinding")]}
    )
    kubectl("apply", "-f", "-", stdin=text.replace('"shop"', f'"{namespace}"'))
    try:
        host = f"waited.{namespace}.test"
        world.apply(namespace, world.manifest("waited", [host], bare=True, tls_acme="true"))
        command = of("Job")["spec"]["template"]["spec"]["containers"][0]["command"]
        config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
        token = kubectl("create", "token", "-n", namespace, of("ServiceAccount")["metadata"]["name"]).strip()
        config["users"][0]["user"] = {"token": token}
        config["contexts"][0]["context"]["namespace"] = namespace
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        done = subprocess.run(
            [sys.executable, "-m", "issuer_job.cli", *command[1:]],
            env=os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")}, cwd=ROOT,
            capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert world.phase(namespace, added_secret(host)) == "Issued"
    finally:
        kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text.replace('"shop"', f'"{namespace}"'))


def of(kind: str) -> Json:
    """The document of the page that is of that kind."""
    (found,) = (document for document in DOCUMENTS if document["kind"] == kind)
    return found


THREE_WAY = ()
ON_THE_SERVER = ("--server-side", "--field-manager=argocd-controller")


@pytest.mark.parametrize("how", [THREE_WAY, ON_THE_SERVER], ids=["three-way", "server-side"])
def test_an_ingress_without_tls_in_git_is_in_sync_also_when_its_hosts_have_changed(
    namespace: str, how: tuple[str, ...]
) -> None:
    ingress = world.manifest("shop", [f"shop.{namespace}.test"], bare=True, tls_acme="true")
    secret = sync(namespace, ingress, *how)
    assert secret == added_secret(f"shop.{namespace}.test")
    ingress["spec"]["rules"].append(ingress["spec"]["rules"][0] | {"host": f"www.{namespace}.test"})
    assert sync(namespace, ingress, *how) == secret


@pytest.mark.parametrize("how", [THREE_WAY, ON_THE_SERVER], ids=["three-way", "server-side"])
def test_tls_that_is_in_git_stays_as_it_is(namespace: str, how: tuple[str, ...]) -> None:
    ingress = world.manifest("shop", [f"shop.{namespace}.test"], tls_acme="true")
    assert sync(namespace, ingress, *how) == "shop-tls"
    assert world.live(namespace, "shop")["spec"]["tls"] == ingress["spec"]["tls"]


def sync(namespace: str, ingress: Json, *how: str) -> str:
    """Apply it, and see that it does not differ then, nor once it is issued; the Secret that it names first."""
    name, hosts = ingress["metadata"]["name"], [rule["host"] for rule in ingress["spec"]["rules"]]
    world.apply(namespace, ingress, *how)
    assert difference(namespace, ingress, *how) == ""
    secret: str = world.live(namespace, name)["spec"]["tls"][0]["secretName"]
    world.wait_issued(namespace, secret, hosts)
    world.wait_noticed(namespace, name)
    assert difference(namespace, ingress, *how) == ""
    return secret


def difference(namespace: str, ingress: Json, *how: str) -> str:
    """What `kubectl diff` finds: by the last one applied, or as the server would apply it."""
    done = subprocess.run(
        ["kubectl", "diff", "-n", namespace, "-f", "-", *how],
        input=json.dumps(ingress), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode < 2, done.stderr
    return done.stdout


def test_what_certjob_makes_is_orphaned_in_no_project_of_the_page(overlay: Path, namespace: str) -> None:
    """Argo CD looks for top-level objects in the namespaces of a project that no Application has."""
    world.apply(namespace, world.manifest("web", [f"web.{namespace}.test"], bare=True, tls_acme="true"))
    world.wait_issued(namespace, added_secret(f"web.{namespace}.test"), [f"web.{namespace}.test"])
    own, tenants = (ignored(name) for name in ("certjob", "shop"))
    git = {
        (each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(kubectl("kustomize", str(overlay)))
    }
    credentials = {("Secret", f"credentials-{name}") for name in ("pebble-dns", "pebble-pdns")}
    for where, ignore, applied in (
        (v.NAMESPACE, own, git | credentials),
        (namespace, tenants, {("Ingress", "web")}),
    ):
        found = top_level(where)
        assert found - applied
        assert {each for each in found - applied if not any(matches(rule, *each) for rule in ignore)} == set()


def ignored(project: str) -> list[Json]:
    (found,) = (d for d in DOCUMENTS if d["kind"] == "AppProject" and d["metadata"]["name"] == project)
    rules: list[Json] = found["spec"]["orphanedResources"]["ignore"]
    return rules


def matches(rule: Json, kind: str, name: str) -> bool:
    return rule["kind"] == kind and fnmatch(name, rule.get("name", "*"))


def top_level(namespace: str) -> set[tuple[str, str]]:
    kinds = {"ConfigMap": CONFIGMAPS, "Secret": SECRETS, "Job": JOBS, "Ingress": INGRESSES, "Lease": LEASES}
    return {
        (kind, item["metadata"]["name"])
        for kind, resource in kinds.items()
        for item in cluster().items(resource, namespace)
        if not item["metadata"].get("ownerReferences") and item["metadata"]["name"] != "kube-root-ca.crt"
    }


SUSPENDED = {"spec": {"suspend": True}}


def ago(minutes: int) -> timedelta:
    """A moment, by how long ago it is when it is looked at: tests are collected long before they run."""
    return timedelta(minutes=minutes)


def cron_job(name: str = SWEEP, *, made: int = 1000, **status: Any) -> Json:
    return {"metadata": {"name": name, "creationTimestamp": ago(made)}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("obj", "status"),
    [
        (cron_job(lastScheduleTime=ago(0), lastSuccessfulTime=ago(5), active=[{"name": "x"}]), "Healthy"),
        (cron_job(lastScheduleTime=ago(5), lastSuccessfulTime=ago(10)), "Healthy"),
        (cron_job(lastScheduleTime=ago(1), lastSuccessfulTime=ago(21)), "Degraded"),
        (cron_job(lastScheduleTime=ago(1), lastSuccessfulTime=ago(21), active=[{"name": "x"}]), "Degraded"),
        (cron_job(made=2), "Healthy"),
        (cron_job(made=21), "Degraded"),
        ({"metadata": {"name": SWEEP, "creationTimestamp": ago(2)}, "spec": {}}, "Healthy"),
        (cron_job() | SUSPENDED, "Suspended"),
        (cron_job("other"), "Healthy"),
        (cron_job("other", lastScheduleTime=ago(100), lastSuccessfulTime=ago(99)), "Healthy"),
        (cron_job("other", lastScheduleTime=ago(100), lastSuccessfulTime=ago(200)), "Degraded"),
        (cron_job("other", lastScheduleTime=ago(0), lastSuccessfulTime=ago(9), active=[{"name": "x"}]), "Healthy"),
        (cron_job("other", lastScheduleTime=ago(100)), "Degraded"),
        (cron_job("other") | SUSPENDED, "Suspended"),
    ],
)
def test_the_health_of_cron_jobs(obj: Json, status: str) -> None:
    assert health(obj) == status


def test_the_health_of_the_sweep_that_is_there() -> None:
    there = cluster().get(CRON_JOBS, v.NAMESPACE, SWEEP)
    assert health(there | {"status": there["status"] | {"lastSuccessfulTime": ago(1)}}) == "Healthy"


def health(obj: Json) -> str:
    """What the page's script says of a CronJob, with the libraries that Argo CD gives it."""
    script = of("ConfigMap")["data"]["resource.customizations.health.batch_CronJob"]
    sandbox = "os = {time = os.time, date = os.date}; string, io, math, debug, coroutine = nil, nil, nil, nil, nil"
    program = f"local say = print\n{sandbox}\nobj = {lua(obj)}\nsay((function()\n{script}\nend)().status)"
    done = subprocess.run(["lua5.1", "-"], input=program, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def lua(value: Any) -> str:
    """A value as Lua writes it; texts without anything odd in them, moments by their age."""
    if isinstance(value, timedelta):
        return lua(f"{datetime.now(UTC) - value:%Y-%m-%dT%H:%M:%SZ}")
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {lua(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value)
