"""docs/living-with.md on a real API server: every block of YAML, those of docs/gitops.md too, and what was run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Resource
from issuer_job.record.record import Record
from tests.e2e import world
from tests.e2e.api import Api, NewNamespace, kubectl, path, wait_for
from tests.e2e.observe import cluster
from tests.e2e.overlay import write_overlay
from tests.e2e.renewals import make_due, wait_renewed
from tests.e2e.sweeps import run_sweep
from tests.worlds.documents import ROOT

PAGES = "\n".join((ROOT / "docs" / page).read_text() for page in ("living-with.md", "gitops.md"))
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)
DOCUMENTS: list[Json] = [document for block in BLOCKS for document in yaml.safe_load_all(block)]
CRDS = Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")
NAMESPACES = Resource("/api/v1", "namespaces")
KUSTOMIZE = "kustomize.config.k8s.io/v1beta1"


def named(kind: str) -> Json:
    """The document of the page that is of that kind."""
    (found,) = [document for document in DOCUMENTS if document["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def others() -> Iterator[None]:
    """What the page's tools bring along: namespaces, and kinds, of which the API server knows no more than names."""
    with ExitStack() as cleaning:
        for name in {document["metadata"].get("namespace") for document in objects()} - {None}:
            if cluster().find(NAMESPACES, None, name) is None:
                cluster().create(NAMESPACES, None, {"metadata": {"name": name}})
                cleaning.callback(cluster().delete, NAMESPACES, None, name)
        served = kubectl("api-versions").split()
        definitions = {d["kind"]: definition_of(d) for d in objects() if d["apiVersion"] not in served}
        for definition in definitions.values():
            cluster().create(CRDS, None, definition)
            cleaning.callback(cluster().delete, CRDS, None, definition["metadata"]["name"])
            kubectl("wait", "--for=condition=established", f"crd/{definition['metadata']['name']}")
        yield


def objects() -> Iterator[Json]:
    """But for what kustomize reads."""
    return (document for document in DOCUMENTS if document["apiVersion"] != KUSTOMIZE)


def definition_of(document: Json) -> Json:
    group, version = document["apiVersion"].split("/")
    kind = document["kind"]
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": f"{kind.lower()}s"},
            "scope": "Namespaced" if "namespace" in document["metadata"] else "Cluster",
            "versions": [{"name": version, "served": True, "storage": True, "schema": anything}],
        },
    }


@pytest.mark.usefixtures("others")
def test_every_block_is_what_an_api_server_takes(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 9
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects())}
    printed = kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(listed)).splitlines()
    assert len(printed) == len(listed["items"])
    write_overlay(tmp_path)
    plain = rendered(tmp_path / "manifests")
    for number, document in enumerate(document for document in DOCUMENTS if document["apiVersion"] == KUSTOMIZE):
        overlay = tmp_path / f"overlay{number}"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(document))
        changed = [one for one in rendered(overlay) if one not in plain]
        assert changed
        kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(changed))
        if any("sync-wave" in json.dumps(one) for one in changed):
            first = {one["kind"] for one in changed}
            assert first >= {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "PriorityClass"}
            assert [one for one in rendered(overlay) if one["kind"] in first and one not in changed] == []


def rendered(directory: Path) -> list[Json]:
    return list(yaml.safe_load_all(kubectl("kustomize", str(directory))))


@pytest.mark.parametrize("kind", ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"])
def test_a_policy_that_exempts_certjob_keeps_no_certificate_back(namespace: str, admin: Api, kind: str) -> None:
    policy, binding = named(kind), named(f"{kind}Binding")
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = binding | {"spec": binding["spec"] | {"matchResources": here}}

    def in_force() -> bool:
        answer = admin.call("POST", path("secrets", namespace), {"metadata": {"name": "without"}}, dryRun="All")
        return answer.status == 422 or bool(answer.json["metadata"].get("labels"))

    with ExitStack() as cleaning:
        for document, plural in (policy, "policies"), (binding, "policybindings"):
            name = f"{kind.removesuffix('AdmissionPolicy').lower()}admission{plural}"
            resource = Resource("/apis/admissionregistration.k8s.io/v1", name)
            cluster().create(resource, None, document)
            cleaning.callback(cluster().delete, resource, None, document["metadata"]["name"])
        wait_for(in_force, what="the policy is in force")
        host = f"exempt.{namespace}.test"
        world.create(namespace, world.manifest("exempt", [host], tls_acme="true"))
        world.wait_issued(namespace, "exempt-tls", [host])


@pytest.mark.usefixtures("no_sweeps")
def test_annotations_for_replicators_stay(namespace: str) -> None:
    host = f"copied.{namespace}.test"
    world.create(namespace, world.manifest("copied", [host], tls_acme="true"))
    former = world.wait_issued(namespace, "copied-tls", [host])
    annotation = "reflector.v1.k8s.emberstack.com/reflection-allowed"
    kubectl("annotate", "secret", "-n", namespace, "copied-tls", f"{annotation}=true")
    make_due(namespace, "copied-tls")
    run_sweep()
    wait_renewed(namespace, "copied-tls", former)
    assert cluster().get(SECRETS, namespace, "copied-tls")["metadata"]["annotations"][annotation] == "true"


@pytest.mark.usefixtures("no_sweeps")
def test_what_a_backup_brings_back_is_not_ordered_again(new_namespace: NewNamespace, admin: Api) -> None:
    """As Velero does it: without what the API server has put there, owners too, and in its order."""
    namespace = new_namespace("e2e-backup")
    host = f"kept.{namespace}.test"
    world.create(namespace, world.manifest("kept", [host], tls_acme="true"))
    before = world.wait_issued(namespace, "kept-tls", [host])
    saved = [
        (SECRETS, namespace, cluster().get(SECRETS, namespace, "kept-tls")),
        *(
            (CONFIGMAPS, v.NAMESPACE, found)
            for found in cluster().items(CONFIGMAPS, v.NAMESPACE)
            if namespace in json.dumps([found["metadata"].get("labels"), found.get("data", {}).get("namespace")])
        ),
        (INGRESSES, namespace, world.live(namespace, "kept")),
    ]
    assert len(saved) == 4  # the record and the claim
    kubectl("delete", "namespace", namespace)
    for resource, where, found in saved:
        if where == v.NAMESPACE:
            cluster().delete(resource, where, found["metadata"]["name"])
    cluster().create(NAMESPACES, None, {"metadata": {"name": namespace}})
    for resource, where, found in saved:
        kept = {key: x for key, x in found["metadata"].items() if key in {"name", "labels", "annotations"}}
        body = {key: x for key, x in found.items() if key != "status"} | {"metadata": kept}
        if v.CLAIM in (kept.get("labels") or {}):
            kept["annotations"][v.CHECKED] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        cluster().create(resource, where, body)
    run_sweep()
    after = world.wait_issued(namespace, "kept-tls", [host])
    assert epochs(after) == epochs(before)
    world.wait_served(host)


def epochs(record: Record) -> list[int]:
    return [entry.epoch for entry in record.history if entry.event == "launched"]
