"""certjob under tools that compare what is there with what they have applied: `kubectl apply -k`, Argo CD, Flux."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import JOBS, Json
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.overlay import write_overlay

BOOTSTRAP = f"{v.APP_COMPONENT}=bootstrap"
CHANGED = """
resources: [../tests/cluster/overlay]
patches:
- target: {kind: Job, name: certjob-bootstrap}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/env, value: [{name: ANOTHER, value: specification}]}
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
    first, former = bootstrap(overlay), bootstrap(overlay)
    former["metadata"]["name"] = "certjob-bootstrap"
    former["spec"]["suspend"] = True
    cluster().create(JOBS, v.NAMESPACE, former)
    try:
        assert kubectl("apply", "-k", str(overlay), "-l", BOOTSTRAP).endswith(" unchanged\n")
        changed = overlay.parents[2] / "changed"
        changed.mkdir()
        (changed / "kustomization.yaml").write_text(CHANGED)
        second = run(changed)
        jobs = {job["metadata"]["name"] for job in cluster().items(JOBS, v.NAMESPACE, labels=BOOTSTRAP)}
        assert jobs == {second, "certjob-bootstrap"}  # which is not finished
        name = first["metadata"]["name"]
        wait_for(
            lambda: not list(cluster().items(PODS, v.NAMESPACE, labels=f"job-name={name}")),
            what="the pods of the Job before are gone",
        )
    finally:
        cluster().delete(JOBS, v.NAMESPACE, "certjob-bootstrap")
        assert run(overlay) == first["metadata"]["name"]


def run(overlay: Path) -> str:
    """Apply its bootstrap Job and wait for it; its name."""
    kubectl("apply", "-k", str(overlay), "-l", BOOTSTRAP)
    name: str = bootstrap(overlay)["metadata"]["name"]
    kubectl("wait", "-n", v.NAMESPACE, "--for=condition=complete", f"job/{name}", "--timeout=110s")
    return name
