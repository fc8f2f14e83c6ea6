"""The Helm chart, by Helm 3 and 4: it is the manifests, its values do what they say, and a wrong one is refused."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.options import parse_options
from supply.chart import values
from supply.chart.__main__ import files, written
from supply.chart.kustomize import FURTHER, rendered
from supply.chart.table import WEBHOOK_SERVICE
from supply.elsewhere import elsewhere
from tests.worlds.documents import ROOT
from tests.worlds.helm import CHART, MAJORS, program

pytestmark = pytest.mark.process
Json = dict[str, Any]
Key = tuple[str, str]
KEEP, ENFORCER = "certjob.io/keep", "admissions.enforcer/disabled"
LATEST = max(MAJORS)


@cache
def kubectl() -> str:
    return str(program("kubectl"))


@pytest.fixture(scope="module", params=MAJORS, ids="helm{}".format)
def major(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def helm(major: int, *arguments: str, given: Json | None = None) -> subprocess.CompletedProcess[str]:
    """Values come on standard input, as a file of them."""
    return subprocess.run(
        [program(f"helm{major}"), *arguments, *(() if given is None else ("--values", "-"))],
        input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def template(
    major: int, given: Json | None = None, *arguments: str, namespace: str = "certjob"
) -> subprocess.CompletedProcess[str]:
    version = () if "--kube-version" in arguments else ("--kube-version", "1.36.0")
    fixed = ("template", "certjob", str(CHART), "--namespace", namespace, *version)
    return helm(major, *fixed, *arguments, given=given)


def objects(
    major: int = LATEST, given: Json | None = None, *arguments: str, namespace: str = "certjob"
) -> dict[Key, Json]:
    """What is installed, by kind and name; the bootstrap Job without its hash."""
    done = template(major, given, *arguments, namespace=namespace)
    assert done.returncode == 0, done.stderr
    found = {}
    for each in filter(None, yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)):
        if "helm.sh/hook" not in each["metadata"].get("annotations", {}):
            name = re.sub(r"^(certjob-bootstrap)-[-0-9a-z]+$", r"\1", each["metadata"]["name"])
            assert (each["kind"], name) not in found
            found[each["kind"], name] = each | {"metadata": each["metadata"] | {"name": name}}
    return found


@cache
def kustomized(variant: str) -> list[Json]:
    return rendered(kubectl(), variant)


def manifests(variant: str = "", *, complete_tls: bool = False, namespace: str = "certjob") -> dict[Key, Json]:
    """What kustomize makes, as the chart has it: without the namespace, and Helm is told to keep what is to stay."""
    further = {(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(FURTHER.read_text())}
    found = {}
    for each in deepcopy(kustomized(variant)):
        key = each["kind"], each["metadata"]["name"]
        if key == ("Namespace", "certjob") or (key in further and not complete_tls):
            continue
        if (each["metadata"].get("labels") or {}).get(KEEP) == "true" or key == WEBHOOK_SERVICE:
            each["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        found[key] = elsewhere(each, namespace)
    return found


def test_its_files_are_as_they_are_written() -> None:
    made = files(kubectl())
    assert written() == made.keys(), "make chart"
    for path, text in made.items():
        assert (CHART / path).read_text() == text, f"{path}: make chart"


def test_it_is_the_manifests(major: int) -> None:
    assert objects(major) == manifests()


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"look": "resource-version"}, ()),
        ({}, ("--kube-version", "1.35.9")),
        ({}, ("--api-versions", "v1/ConfigMap")),
    ],
    ids=["said", "by-version", "by-what-the-cluster-has"],
)
def test_before_1_36_it_is_the_manifests_for_that(major: int, given: Json, arguments: tuple[str, ...]) -> None:
    assert objects(major, given, *arguments) == manifests("before-1.36")


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"look": "policy"}, ("--kube-version", "1.35.9")),
        ({}, ("--kube-version", "1.36.1-gke.1245000")),
        (
            {},
            ("--kube-version", "1.35.9", "--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"),
        ),
    ],
    ids=["said", "by-version", "by-what-the-cluster-has"],
)
def test_from_1_36_it_is_the_manifests_for_that(major: int, given: Json, arguments: tuple[str, ...]) -> None:
    assert objects(major, given, *arguments) == manifests()


@pytest.mark.parametrize(
    ("given", "variant"),
    [
        ({"userNamespaces": True}, "optional/user-namespaces"),
        ({"options": {"certManagerAnnotations": True}}, "optional/cert-manager-annotations"),
        ({"monitoring": {"enabled": True}}, "optional/monitoring"),
        ({"networkPolicies": {"apiServer": ["192.0.2.1/32", "192.0.2.10/32"]}}, "optional/api-server"),
    ],
)
def test_with_a_value_it_is_the_manifests_with_a_component(given: Json, variant: str) -> None:
    found = objects(given=given)
    if "options" in given:
        found.pop(("ConfigMap", v.OPTIONS_CONFIG_MAP))
    assert found == manifests(variant)


@pytest.mark.parametrize("given", [{"completeTls": True}, {"options": {"completeTls": True}}])
def test_to_complete_tls_the_option_and_the_right_go_together(given: Json) -> None:
    found = objects(given=given)
    options = found.pop(("ConfigMap", v.OPTIONS_CONFIG_MAP))
    assert yaml.safe_load(options["data"][v.OPTIONS_KEY]) == {"completeTls": True}
    assert found == manifests(complete_tls=True)


def test_in_another_namespace_it_is_the_manifests_of_that(major: int) -> None:
    assert objects(major, namespace="tls-system") == manifests(namespace="tls-system")


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_it_wants_a_namespace_of_its_own(major: int, namespace: str) -> None:
    assert "needs a namespace of its own" in template(major, namespace=namespace).stderr


def bootstrap_name(given: Json) -> str:
    (name,) = re.findall(r"^  name: (certjob-bootstrap-\S+)$", template(LATEST, given).stdout, re.MULTILINE)
    return str(name)


def test_the_bootstrap_job_is_named_by_its_version_image_and_specification() -> None:
    name = bootstrap_name({})
    assert re.fullmatch(r"certjob-bootstrap-0-1-0-[0-9a-f]{10}", name)
    assert bootstrap_name({"webhook": {"replicas": 3}, "defaultIssuer": "letsencrypt"}) == name
    changes: list[Json] = [
        {"image": {"tag": "0.2.0"}},
        {"image": {"digest": {"job": f"sha256:{'a' * 64}"}}},
        {"sweep": {"nodeSelector": {"a": "b"}}},
        {"look": "resource-version"},
    ]
    assert len({bootstrap_name(change) for change in changes} | {name}) == len(changes) + 1


PODS = {
    "webhook": {"certjob-webhook"},
    "responder": {"certjob-responder"},
    "view": {"certjob-view"},
    "sweep": {"certjob-sweep", "certjob-bootstrap"},
    "jobs": {v.POD_TEMPLATE},
}
"""The names of what the pods of a part are made from, by the value that is about it."""
MARKED: dict[str, tuple[Any, str, set[str]]] = {
    "image.tag": ("tag-1", "certjob-job:tag-1", {"certjob-responder", "certjob-sweep", v.POD_TEMPLATE}),
    "image.registry": ("registry.test/x", "registry.test/x/certjob-", set.union(*PODS.values())),
    "image.pullPolicy": ("Always", '"imagePullPolicy": "Always"', set.union(*PODS.values())),
    "image.pullSecrets": ([{"name": "registry-1"}], "registry-1", set.union(*PODS.values())),
    "issuers": ({"issuer-1": {"type": "selfsigned"}}, "type: selfsigned", {"issuer-1"}),
    "options": ({"claimGrace": "31h"}, "31h", {v.OPTIONS_CONFIG_MAP}),
    "webhook.replicas": (31, '"replicas": 31', {"certjob-webhook"}),
    "responder.replicas": (32, '"replicas": 32', {"certjob-responder"}),
    "sweep.everyMinutes": (10, "*/10 * * * *", {"certjob-sweep"}),
    "jobs.keepSeconds": (33, '"33"', {v.POD_TEMPLATE}),
    "networkPolicies.apiServer": (["192.0.2.34/32"], "192.0.2.34/32", {"api-server"}),
    "quota.jobs": (35, '"35"', {"certjob"}),
    "quota.configMaps": ("36k", "36k", {"certjob"}),
    "quota.pods": (37, '"37"', {"certjob-issue"}),
    "quota.memory": ("38Gi", "38Gi", {"certjob-issue"}),
    "routePolicy": ({"foreignLabels": "team-39"}, "team-39", {v.ROUTE_POLICY}),
    "monitoring.labels": ({"release": "stack-40"}, "stack-40", {"certjob"}),
    "monitoring.runbook": ("https://wiki-41.test", "https://wiki-41.test#", {"certjob"}),
    **{
        f"{part}.{name}": (value, marker, PODS[part])
        for number, part in enumerate(PODS, 50)
        for name, value, marker in (
            ("resources", {"limits": {"memory": f"{number}Mi"}}, f'"memory": "{number}Mi"'),
            ("priorityClassName", f"class-{number}", f"class-{number}"),
            ("nodeSelector", {"disk": f"disk-{number}"}, f"disk-{number}"),
            ("tolerations", [{"key": f"taint-{number}"}], f"taint-{number}"),
            ("affinity", {"podAffinity": {"a": f"affinity-{number}"}}, f"affinity-{number}"),
        )
    },
}
"""By path another value, what of it has to be there, and in the objects of which names."""
BY_THEMSELVES = {
    "image.digest.job",
    "image.digest.webhook",
    "defaultIssuer",
    "completeTls",
    "look",
    "userNamespaces",
} | {f"{part}.enabled" for part in ("networkPolicies", "quota", "monitoring")}
"""Values that have tests of their own."""


def leaves(found: tuple[values.Value, ...]) -> Iterator[str]:
    for value in found:
        yield from leaves(value.below) if value.below else (value.path,)


@cache
def marked() -> dict[str, str]:
    """The objects, by name, with all of these values."""
    given: Json = {"monitoring": {"enabled": True}, "defaultIssuer": ""}
    for path, (value, _, _) in MARKED.items():
        *parts, name = path.split(".")
        inner = given
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[name] = value
    found: dict[str, str] = {}
    for (_, name), each in objects(given=given).items():
        found[name] = found.get(name, "") + json.dumps(each)
    return found


def test_each_value_is_tried() -> None:
    assert set(leaves(values.read((CHART / "values.yaml").read_text()))) == MARKED.keys() | BY_THEMSELVES


@pytest.mark.parametrize("path", MARKED)
def test_each_value_is_where_it_belongs_and_nowhere_else(path: str) -> None:
    _, marker, names = MARKED[path]
    there = {name for name, text in marked().items() if marker in text}
    assert there >= names
    assert path == "image.tag" or there == names


def test_policies_for_the_network_and_quotas_can_be_left_out() -> None:
    without = objects(given={"networkPolicies": {"enabled": False}, "quota": {"enabled": False}})
    left_out = {key for key in default() if key[0] in {"NetworkPolicy", "ResourceQuota"}}
    assert left_out
    assert without == {key: each for key, each in default().items() if key not in left_out}


@cache
def default() -> dict[Key, Json]:
    return objects()


def containers(given: Json) -> dict[str, Json]:
    """By the name of what pods are made from."""
    found = {}
    for (_, name), each in objects(given=given).items():
        spec = each.get("spec", {}).get("jobTemplate", each).get("spec", each).get("template", {})
        spec = spec.get("spec") or each.get("template", {}).get("spec")
        if spec:
            (container,) = spec["containers"]
            found[name] = container | {"pod": spec}
    return found


def test_images_are_by_tag_or_digest_and_pulled_with_secrets() -> None:
    digest = f"sha256:{'a' * 64}"
    image = {"registry": "r.test/x", "tag": "7", "digest": {"webhook": digest}, "pullSecrets": [{"name": "s"}]}
    found = containers({"image": image})
    assert len(found) == 6
    by_digest = {name for name, c in found.items() if c["image"] == f"r.test/x/certjob-webhook@{digest}"}
    assert by_digest == {"certjob-webhook", "certjob-view"}
    assert {c["image"] for name, c in found.items() if name not in by_digest} == {"r.test/x/certjob-job:7"}
    assert all(c["pod"]["imagePullSecrets"] == [{"name": "s"}] for c in found.values())
    assert containers({"image": {"registry": ""}})["certjob-sweep"]["image"] == "certjob-job:0.1.0"


def test_where_pods_run() -> None:
    where = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}], "affinity": {"podAffinity": {}}}
    found = containers({"jobs": where})
    assert {key: found[v.POD_TEMPLATE]["pod"][key] for key in where} == where
    assert not where.keys() & found["certjob-sweep"]["pod"].keys()


def test_schedule_and_interval_come_from_one_number() -> None:
    sweep = objects(given={"sweep": {"everyMinutes": 15}})["CronJob", "certjob-sweep"]
    assert sweep["spec"]["schedule"] == "*/15 * * * *"
    (container,) = sweep["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "CERTJOB_SWEEP_INTERVAL", "value": "900"} in container["env"]


def test_issuers_and_options_are_what_was_written(major: int) -> None:
    """Numbers too, which Helm has as floating-point ones."""
    issuer = {
        "server": "https://ca.test/dir",
        "caBundle": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "limits": {"orders": 1_000_000},
        "solvers": [{"http01": {}}],
    }
    options = {"certificatesPerNamespace": 1_000_000, "hostPolicy": "open"}
    given = {"issuers": {"own": issuer, "letsencrypt": None}, "defaultIssuer": "own", "options": options}
    found = objects(major, given)
    read = parse_issuer(found["ConfigMap", "own"])
    assert (read.server, read.ca_bundle, read.limits.orders) == (issuer["server"], issuer["caBundle"], 1_000_000)
    chosen = parse_options(found["ConfigMap", v.OPTIONS_CONFIG_MAP])
    assert (chosen.certificates_per_namespace, chosen.host_policy) == (1_000_000, "open")
    assert ("ConfigMap", "letsencrypt") not in found
    issuers = {name: c for (_, name), c in found.items() if v.ISSUER in c["metadata"].get("labels", {})}
    default = {v.DEFAULT_ISSUER: "true"}
    assert [name for name, c in issuers.items() if c["metadata"].get("annotations") == default] == ["own"]


def test_one_pod_has_no_budget_that_would_keep_its_node_from_being_drained() -> None:
    found = objects(given={"webhook": {"replicas": 1}})
    assert {name for kind, name in found if kind == "PodDisruptionBudget"} == {"certjob-responder"}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"replicas": 2}, "replicas"),
        ({"webhook": {"replica": 2}}, "replica"),
        ({"webhook": {"replicas": 0}}, "/webhook/replicas"),
        ({"image": {"digest": {"job": "latest"}}}, "/image/digest/job"),
        ({"look": "secret"}, "/look"),
        ({"sweep": {"everyMinutes": 7}}, "/sweep/everyMinutes"),
        ({"issuers": {"own": {"server": "http://ca.test"}}}, "/issuers/own"),
        ({"issuers": {"own": {"server": "https://ca.test/dir", "mail": "a@b.test"}}}, "mail"),
        ({"issuers": {"own.er": {"type": "selfsigned"}}}, "own.er"),
        ({"issuers": {"own": {"server": "https://ca.test/dir", "solvers": [{"dns01": {}}]}}}, "provider"),
        ({"options": {"hostPolicy": "all"}}, "/options/hostPolicy"),
        ({"options": {"launches": 1}}, "launches"),
        ({"networkPolicies": {"apiServer": ["api.test"]}}, "/networkPolicies/apiServer"),
        ({"quota": {"memory": "much"}}, "/quota/memory"),
        ({"quota": {"configMaps": "50KiB"}}, "/quota/configMaps"),
        ({"routePolicy": {"labels": "x"}}, "labels"),
        ({"jobs": {"keepSeconds": 86401}}, "/jobs/keepSeconds"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_and_named(major: int, given: Json, word: str) -> None:
    done = template(major, given)
    assert done.returncode != 0
    assert word in done.stderr.replace("'.", "'/").replace(".", "/") + done.stderr


def test_the_values_of_the_pages_are_values_of_the_chart() -> None:
    pages = "".join((ROOT / f"docs/{page}.md").read_text() for page in ("helm", "gitops"))
    blocks = re.findall(r"^```yaml\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    given = [document for document in documents if "kind" not in document]
    given += [d["spec"]["values"] for d in documents if d.get("kind") == "HelmRelease"]
    given += [
        d["spec"]["source"]["helm"]["valuesObject"]
        for d in documents
        if "helm" in str(d.get("spec", {}).get("source"))
    ]
    assert len(given) == 3
    for each in given:
        issuers = {name: c for (_, name), c in objects(given=each).items() if name in each["issuers"]}
        assert {name: parse_issuer(c).email for name, c in issuers.items()} == {
            name: issuer["email"] for name, issuer in each["issuers"].items()
        }


def test_notes_say_what_is_next() -> None:
    def notes(given: Json) -> str:
        arguments = ("install", "certjob", str(CHART), "--dry-run=client", "-n", "certjob")
        done = helm(LATEST, *arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:\n")[2]

    said = notes({})
    for words in ("helm test certjob -n certjob", "kubectl label namespace certjob", "kubernetes.io/tls-acme=true"):
        assert words in said
    assert "No e-mail address, so that the CA can warn nobody: letsencrypt, letsencrypt-staging." in said
    assert "Browsers do not trust certificates of letsencrypt-staging." in said
    issuers = {"letsencrypt": {"email": "a@b.test"}, "letsencrypt-staging": None}
    said = notes({"issuers": issuers, "defaultIssuer": "letsencrypt", "options": {"routes": "job"}})
    assert "No e-mail" not in said
    assert "Browsers" not in said
    assert "Options are set." in said
    assert "There is no default issuer" in notes({"defaultIssuer": ""})


def test_a_default_issuer_that_is_none_is_refused() -> None:
    assert 'there is no "nobody" among the issuers' in template(LATEST, {"defaultIssuer": "nobody"}).stderr


def test_as_a_subchart_it_may_be_handed_what_is_global(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: umbrella, version: 1.0.0}")
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/certjob").symlink_to(CHART)
    given = {"global": {"team": "a"}, "certjob": {"webhook": {"replicas": 3}}}
    done = helm(LATEST, "template", "x", str(tmp_path), "-n", "certjob", "--kube-version", "1.36.0", given=given)
    assert done.returncode == 0, done.stderr
    assert "replicas: 3" in done.stdout


def test_lint_finds_nothing(major: int) -> None:
    done = helm(major, "lint", "--strict", "--kube-version", "1.36.0", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_no_hook_but_tests_and_looks_at_nothing() -> None:
    """A Job after the installation, as a hook, waits under --wait for pods that wait for its Secret."""
    assert not (CHART / "crds").exists()
    for path in (CHART / "templates").rglob("*.*"):
        text = path.read_text()
        assert not re.search(r"\{\{[^}]*\blookup\b|^ *caBundle:", text, re.MULTILINE), path
        assert set(re.findall(r'helm\.sh/hook"?: "?([a-z-]+)', text)) <= {"test"}, path
    assert "Namespace" not in {kind for kind, _ in default()}
    assert default()["MutatingWebhookConfiguration", v.WEBHOOK_CONFIGURATION]["metadata"]["annotations"] == {
        ENFORCER: "true"
    }


def test_its_versions_and_annotations_are_the_projects() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {each["image"] for each in images} == {c["image"] for c in containers({}).values()}
    assert {each["kind"] for each in yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])} <= {
        "added", "changed", "deprecated", "removed", "fixed", "security",
    }  # fmt: skip
    assert chart["annotations"]["artifacthub.io/license"] == "MIT"
