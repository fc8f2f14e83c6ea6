"""The manifests agree with the code's vocabulary and with what certjob promises about Secrets. No cluster needed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jsonpatch
import pytest
import yaml

from certs.formats import Format
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.demand.aliases import cert_manager
from issuer_job.issuers.load import parse_issuer
from issuer_job.launch import jobs
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets import canary
from issuer_job.upkeep.webhook.configuration import SENT
from tests.worlds.documents import MANIFESTS
from tests.worlds.manifests import BASE, OLDER, documents, older
from tests.worlds.samples import record
from webhook.app import POLICIES
from webhook.decide_secret import WRITERS

OVERLAY = MANIFESTS.parent / "tests/cluster/overlay"
Json = dict[str, Any]


FOREIGN_METADATA = "certjob-foreign-metadata"


def with_component(name: str) -> list[Json]:
    """What is installed with a directory of manifests/optional/ that an overlay names as a component."""
    found = copy.deepcopy(list(documents()))
    for patch in yaml.safe_load((MANIFESTS / "optional" / name / "kustomization.yaml").read_text())["patches"]:
        kind, pattern = patch["target"]["kind"], patch["target"]["name"]
        chosen = [d for d in found if d["kind"] == kind and re.fullmatch(pattern, d["metadata"]["name"])]
        assert chosen, patch["target"]
        for document in chosen:
            jsonpatch.apply_patch(document, yaml.safe_load(patch["patch"]), in_place=True)
    return found


def all_of(kind: str) -> dict[str, Json]:
    """By name."""
    return {d["metadata"]["name"]: d for d in documents() if d["kind"] == kind}


def test_uninstalling_takes_the_rights_before_the_policies_that_bound_them() -> None:
    """`kubectl delete -k` goes through the objects as they were made: the policies before the rights."""
    text = (MANIFESTS.parent / "README.md").read_text().partition("**Uninstall.**")[2]
    lines = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert [line.partition("delete ")[2].partition(" ")[0] for line in lines] == [
        "clusterrolebindings,rolebindings",
        "mutatingwebhookconfigurations",
        "-k",
    ]
    assert lines[0].endswith("-n certjob -l app.kubernetes.io/name=certjob")
    bindings = [d for d in documents() if d["kind"] in {"ClusterRoleBinding", "RoleBinding"}]
    assert len(bindings) >= 8
    for binding in bindings:
        assert binding["metadata"]["labels"]["app.kubernetes.io/name"] == "certjob"
        assert binding["metadata"].get("namespace", "certjob") == "certjob"
    assert lines[1].split()[-1] in all_of("MutatingWebhookConfiguration")


def pod_spec(document: Json) -> Json:
    """Of something that pods are made from, otherwise empty."""
    if document["kind"] == "CronJob":
        document = document["spec"]["jobTemplate"]
    template = document.get("template") or document.get("spec", {}).get("template") or {}
    spec: Json = template.get("spec", {})
    return spec


def pod_specs() -> Iterator[tuple[str, Json]]:
    """Every pod spec in the manifests, with its object's name."""
    for document in documents():
        if spec := pod_spec(document):
            yield document["metadata"]["name"], spec


def keys(value: Any) -> Iterator[str]:
    """Every key of every object in it."""
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_every_file_is_listed() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    there = {str(p.relative_to(BASE)) for p in BASE.rglob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there


def test_both_installations_are_made_of_the_base() -> None:
    for directory, base in ((MANIFESTS, "base"), (OLDER, "../base")):
        assert yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"] == [base]


def test_clusters_before_1_36_get_all_but_what_they_have_not() -> None:
    left_out = {(d["kind"], d["metadata"]["name"]) for d in documents()} - older().keys()
    assert left_out == {
        ("MutatingAdmissionPolicy", "certjob-look"),
        ("MutatingAdmissionPolicyBinding", "certjob-look"),
    }
    kinds = {d["apiVersion"] for d in older().values() if d["kind"].endswith(("Policy", "PolicyBinding"))}
    assert kinds == {"admissionregistration.k8s.io/v1", "networking.k8s.io/v1"}


def test_before_1_36_every_process_that_looks_is_told_how_and_nothing_else_changes() -> None:
    variable = {"name": "CERTJOB_LOOK", "value": "resource-version"}
    assert secrets.LOOKERS[variable["value"]] is secrets.look_by_version
    changed = {key: (d, older()[key]) for d in documents() if (key := (d["kind"], d["metadata"]["name"])) in older()}
    changed = {key: pair for key, pair in changed.items() if pair[0] != pair[1]}
    policy = ("ValidatingAdmissionPolicy", "certjob-foreign-metadata")
    webhooks = ("MutatingWebhookConfiguration", v.WEBHOOK_CONFIGURATION)
    processes = {("PodTemplate", v.POD_TEMPLATE), ("CronJob", "certjob-sweep"), ("Job", "certjob-bootstrap")}
    assert changed.keys() == {policy, webhooks} | processes
    for key, (normal, old) in changed.items():
        if key in processes:
            container = pod_spec(copy.deepcopy(normal))["containers"][0]
            environment = container["env"]
            assert variable["name"] not in {entry["name"] for entry in environment}
            assert pod_spec(old)["containers"] == [container | {"env": [*environment, variable]}]


def test_before_1_36_the_webhook_is_sent_certjobs_own_writes_to_secrets_that_ask() -> None:
    key = ("MutatingWebhookConfiguration", v.WEBHOOK_CONFIGURATION)
    normal, old = all_of(key[0])[key[1]]["webhooks"], older()[key]["webhooks"]
    assert normal[:2] == old[:2]
    assert {**normal[2], "matchConditions": []} == {**old[2], "matchConditions": []}
    names = ["not-being-deleted", "asks-now", "certjob-is-there"]
    assert [c["name"] for c in normal[2]["matchConditions"]] == ["not-certjobs-own", *names]
    assert [c["name"] for c in old[2]["matchConditions"]] == names
    assert normal[2]["matchConditions"][-1] == old[2]["matchConditions"][-1]
    assert "oldObject != null" in old[2]["matchConditions"][1]["expression"]


def test_before_1_36_others_labels_may_be_dropped_and_nothing_else_is_relaxed() -> None:
    key = ("ValidatingAdmissionPolicy", "certjob-foreign-metadata")
    normal, left = all_of(key[0])[key[1]]["spec"]["validations"], older()[key]["spec"]["validations"]
    assert normal[:-1] == left
    assert normal[-1]["message"].endswith("may not be dropped")


def expressions(value: Any) -> Iterator[str]:
    """Every CEL expression of an object."""
    if isinstance(value, dict):
        yield from (x for key, x in value.items() if key == "expression")
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def test_before_1_36_no_expression_needs_functions_that_1_30_does_not_have() -> None:
    """Macros over keys and values came with 1.33, the libraries with 1.32 and later."""
    macros = r"transform(Map|List|MapEntry)\(|\.(all|exists|exists_one|existsOne)\(\w+, \w+, "
    newer = rf"{macros}|format\.|semver|jsonpatch|lists\."
    found = [e for d in older().values() for e in expressions(d)]
    assert len(found) > 60
    assert not [expression for expression in found if re.search(newer, expression)]
    assert [
        e
        for d in documents()
        if d["kind"] == "MutatingAdmissionPolicy"
        for e in expressions(d)
        if re.search(newer, e)
    ]


def test_no_two_objects_have_the_same_name() -> None:
    identities = [
        (d["apiVersion"], d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents()
    ]
    assert len(identities) == len(set(identities))


def test_everything_namespaced_is_in_the_namespace() -> None:
    assert {d["metadata"]["namespace"] for d in documents() if "namespace" in d["metadata"]} == {v.NAMESPACE}
    assert set(all_of("Namespace")) == {v.NAMESPACE}


def secret_rules() -> Iterator[tuple[str, str, Json]]:
    for kind in ("Role", "ClusterRole"):
        for name, role in all_of(kind).items():
            for rule in role["rules"] or ():  # what an upgrade empties has none
                if {"secrets", "*", "secrets/*"} & set(rule["resources"]):
                    yield kind, name, rule


def test_nobody_may_read_secrets_but_the_webhooks_own() -> None:
    own = {v.WEBHOOK_TLS_SECRET, v.WEBHOOK_CA_SECRET}
    for kind, name, rule in secret_rules():
        assert not {"list", "watch", "patch", "deletecollection", "*"} & set(rule["verbs"]), name
        if "get" in rule["verbs"]:
            assert (kind, set(rule["resourceNames"])) == ("Role", own), name


def test_rights_on_secrets_everywhere_are_what_the_policies_bound() -> None:
    verbs = {name: set(rule["verbs"]) for kind, name, rule in secret_rules() if kind == "ClusterRole"}
    assert verbs == {
        "certjob-webhook": {"create"},
        "certjob-job": {"create", "update"},
        "certjob-sweep": {"create", "update", "delete"},
    }


def test_no_role_has_wildcards_or_rights_that_lead_to_other_rights() -> None:
    for kind in ("Role", "ClusterRole"):
        for name, role in all_of(kind).items():
            for rule in role["rules"] or ():  # what an upgrade empties has none
                assert not {"*", "bind", "escalate", "impersonate"} & set(rule["verbs"]), name
                assert not {"*", "pods/exec", "serviceaccounts/token"} & set(rule["resources"]), name
                if "pods" in rule["resources"]:
                    assert (name, set(rule["verbs"])) == ("view", {"list", "watch"})


def test_the_view_reads_in_the_namespace_and_is_all_in_one_file() -> None:
    """So that it is left out with a line of the kustomization."""
    [bound] = [d for d in documents() if any(s["name"] == "view" for s in d.get("subjects") or ())]
    assert (bound["kind"], bound["roleRef"]["kind"], bound["roleRef"]["name"]) == ("RoleBinding", "Role", "view")
    rights = {
        (verb, resource, name)
        for rule in all_of("Role")["view"]["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    listed = {(verb, what, "") for verb in ("list", "watch") for what in ("configmaps", "pods", "jobs")}
    assert rights == listed | {("get", "cronjobs", v.SWEEP_CRON_JOB)}
    assert v.SWEEP_CRON_JOB in all_of("CronJob")
    without = [d for d in documents() if d not in list(yaml.safe_load_all((BASE / "view.yaml").read_text()))]
    assert not [d for d in without if "view" in json.dumps([d["metadata"], d.get("roleRef"), d.get("subjects")])]


def test_no_manifest_has_a_ca_bundle_key_or_a_secret() -> None:
    assert "caBundle" not in set(keys(list(documents())))
    for webhook in all_of("MutatingWebhookConfiguration")[v.WEBHOOK_CONFIGURATION]["webhooks"]:
        assert "rules" not in webhook
        assert webhook["clientConfig"] == {
            "service": {"name": v.WEBHOOK_SERVICE, "namespace": v.NAMESPACE, "port": 443}
        }


def test_the_policy_knows_what_is_sent_as_the_code_does() -> None:
    spec = all_of("ValidatingAdmissionPolicy")["certjob-webhook-config"]["spec"]
    sent = next(x["expression"] for x in spec["variables"] if x["name"] == "sent")
    assert json.loads(sent.replace("'", '"')) == {kind: list(what) for kind, what in SENT.items()}
    assert {policy.removeprefix("/mutate/") for policy in POLICIES} == SENT.keys()
    assert not all_of("Secret")


def test_every_validating_policy_is_bound_and_closed() -> None:
    bindings = {name: b["spec"] for name, b in all_of("ValidatingAdmissionPolicyBinding").items()}
    policies = all_of("ValidatingAdmissionPolicy")
    further = {f"{FOREIGN_METADATA}-jobs", f"{FOREIGN_METADATA}-own"}
    assert set(bindings) == set(policies) | {f"{name}-canary" for name in policies} | further
    for name, policy in policies.items():
        assert policy["spec"]["failurePolicy"] == "Fail", name
        assert bindings[name]["validationActions"] == ["Deny", "Audit"], name
        if name == FOREIGN_METADATA:
            continue
        assert "matchResources" not in bindings[name], name
        if "paramKind" in policy["spec"]:
            assert bindings[name]["paramRef"]["parameterNotFoundAction"] == "Deny", name
        assert bindings[name]["policyName"] == name
    assert set(all_of("MutatingAdmissionPolicyBinding")) == set(all_of("MutatingAdmissionPolicy")) == {"certjob-look"}


def test_the_policy_of_foreign_metadata_reaches_all_that_certjob_writes_and_nothing_of_others() -> None:
    """Where its parameters are missing a binding refuses all that it matches, or nothing of it."""
    bindings = {name: b["spec"] for name, b in all_of("ValidatingAdmissionPolicyBinding").items()}
    found = {}
    for suffix in ("", "-jobs", "-own"):
        binding = bindings[f"{FOREIGN_METADATA}{suffix}"]
        assert (binding["policyName"], binding["validationActions"]) == (FOREIGN_METADATA, ["Deny", "Audit"])
        assert binding["paramRef"]["name"] == v.ROUTE_POLICY
        matched = binding["matchResources"]
        selectors = (matched.get(key, {}).get("matchLabels", {}) for key in ("namespaceSelector", "objectSelector"))
        found[suffix] = (binding["paramRef"]["parameterNotFoundAction"], *selectors)
    own = {"kubernetes.io/metadata.name": v.NAMESPACE}
    assert found == {
        "": ("Allow", {}, {v.MANAGED: "true"}),
        "-jobs": ("Deny", own, {v.APP_COMPONENT: "issue"}),
        "-own": ("Deny", own, {}),
    }


def test_every_validating_policy_warns_of_its_canary_and_of_nothing_else() -> None:
    """Where its parameters are missing a binding refuses whatever it matches."""
    bindings = {name: b["spec"] for name, b in all_of("ValidatingAdmissionPolicyBinding").items()}
    of_canaries = {v.WEBHOOK_TLS_SECRET, v.WEBHOOK_CONFIGURATION, canary.NAME}
    for name in all_of("ValidatingAdmissionPolicy"):
        binding = bindings[f"{name}-canary"]
        assert (binding["policyName"], binding["validationActions"]) == (name, ["Warn"])
        assert binding.get("paramRef") == bindings[name].get("paramRef")
        [rule] = binding["matchResources"]["resourceRules"]
        labels = binding["matchResources"].get("objectSelector", {}).get("matchLabels")
        assert (
            labels == {canary.NAME: "true"}
            if name == "certjob-complete-tls"
            else set(rule["resourceNames"]) < of_canaries
        )
    [role] = [d for d in documents() if d["kind"] == "ClusterRole" and d["metadata"]["name"] == "certjob-policies"]
    assert set(role["rules"][0]["resourceNames"]) == set(all_of("ValidatingAdmissionPolicy"))


@pytest.mark.parametrize("kind", ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"])
def test_policies_spell_keys_as_the_vocabulary_does(kind: str) -> None:
    known = {value for name, value in vars(v).items() if name.isupper() and isinstance(value, str)}
    for name, policy in all_of(kind).items():
        for found in set(re.findall(r"'([a-z.]*certjob\.io/[a-z-]*)'", json.dumps(policy))) - {"certjob.io/"}:
            assert found in known, name


def test_the_canarys_refusal_begins_with_a_message_of_the_policy() -> None:
    messages = [
        x["message"] for x in all_of("ValidatingAdmissionPolicy")["certjob-tenant-secrets"]["spec"]["validations"]
    ]
    begin = v.CANARY_DENIAL.removeprefix("denied request: ")
    assert [m for m in messages if m.startswith(begin)] == [messages[1]]


def test_the_routes_policy_has_the_vocabularys_annotations() -> None:
    spec = all_of("ValidatingAdmissionPolicy")["certjob-routes"]["spec"]
    fixed = next(x["expression"] for x in spec["variables"] if x["name"] == "fixed")
    assert json.loads(fixed) == v.ROUTE_ANNOTATIONS
    rules = json.dumps([spec["variables"], spec["validations"]])
    for part in (v.CHALLENGE_PATH, v.RESPONDER_SERVICE, v.RESPONDER_PORT_NAME, v.INGRESS_CLASS, v.EPOCH_PREFIX):
        assert f"'{part}'" in rules


def test_well_known_objects_have_the_vocabularys_names() -> None:
    assert set(all_of("PodTemplate")) == {v.POD_TEMPLATE}
    assert set(all_of("Service")) == {v.RESPONDER_SERVICE, v.WEBHOOK_SERVICE}
    assert set(all_of("MutatingWebhookConfiguration")) == {v.WEBHOOK_CONFIGURATION}
    (port,) = all_of("Service")[v.RESPONDER_SERVICE]["spec"]["ports"]
    assert port["name"] == v.RESPONDER_PORT_NAME
    (container,) = all_of("Deployment")["certjob-responder"]["spec"]["template"]["spec"]["containers"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert ports[port["targetPort"]] == v.RESPONDER_PORT
    (tls,) = [x for x in dict(pod_specs())["certjob-webhook"]["volumes"] if x["name"] == "tls"]
    assert tls["secret"]["secretName"] == v.WEBHOOK_TLS_SECRET


def test_webhook_entries_leave_certjobs_namespaces_out() -> None:
    webhooks = all_of("MutatingWebhookConfiguration")[v.WEBHOOK_CONFIGURATION]["webhooks"]
    for webhook in webhooks:
        (left_out,) = webhook["namespaceSelector"]["matchExpressions"]
        assert set(left_out["values"]) == {v.NAMESPACE, v.SYSTEM_NAMESPACE}
        assert webhook["clientConfig"]["service"]["name"] == v.WEBHOOK_SERVICE
        assert webhook["sideEffects"] == "NoneOnDryRun"
    assert [webhook["failurePolicy"] for webhook in webhooks] == ["Ignore", "Ignore", "Fail", "Ignore"]
    assert webhooks[1]["namespaceSelector"]["matchLabels"] == {v.NAMESPACE_ENABLED: "true"}


@pytest.mark.parametrize("name", ["certjob-tenant-secrets", "certjob-secrets-delete", "certjob-complete-tls"])
def test_policies_leave_out_the_namespaces_that_the_code_leaves_out(name: str) -> None:
    spec = all_of("ValidatingAdmissionPolicy")[name]["spec"]
    excluded = [re.findall(r"request\.namespace [!=]= '([a-z-]+)'", expression) for expression in expressions(spec)]
    assert {namespace for found in excluded for namespace in found} == {v.NAMESPACE, v.SYSTEM_NAMESPACE}


def test_the_policy_pins_which_pods_of_a_job_count() -> None:
    template = all_of("PodTemplate")[v.POD_TEMPLATE]
    made = jobs.issue_job_body(record(), template, account_number=1, directory="https://ca.certjob.dev/dir")
    spec = all_of("ValidatingAdmissionPolicy")["certjob-jobs"]["spec"]
    (rule,) = [r["expression"] for r in spec["validations"] if r["message"] == "certjob-job: podFailurePolicy"]
    pinned = [yaml.safe_load(found) for found in re.findall(r"== (\[.*?\])(?: &&|$)", rule)]
    rules = made["spec"]["podFailurePolicy"]["rules"]
    codes = [r.get("onExitCodes", {}) for r in rules]
    assert pinned == [
        [r["action"] for r in rules],
        [c.get("containerName", "") for c in codes],
        [c.get("operator", "") for c in codes],
        [c.get("values", []) for c in codes],
        [[f"{c['type']}={c['status']}" for c in r.get("onPodConditions", [])] for r in rules],
    ]


@pytest.mark.parametrize("uid", ["0f6bd5b4-9a4f-4d8e-9a1e-7f1f6f5d3c2b", "0123456789"], ids=["uid", "hash of 0.1.0"])
def test_policies_know_what_belongs_to_a_record(uid: str) -> None:
    spec = all_of("ValidatingAdmissionPolicy")["certjob-configmaps"]["spec"]
    patterns = dict(re.findall(r"'([a-z-]+)': '(\^[^']+)'", next(e for e in expressions(spec) if "^claim-" in e)))
    assert re.fullmatch(patterns["challenge"], names.challenge(uid, 1_700_000_000))
    assert re.fullmatch(patterns["dns-challenge"], names.dns_trace(uid))
    deletions = json.dumps(all_of("ValidatingAdmissionPolicy")["certjob-secrets-delete"])
    (pending,) = re.findall(r"matches\('(\^pending[^']+)'\)", deletions)
    assert re.fullmatch(pending, names.pending_key(uid, 1_700_000_000))


def test_no_secret_without_the_label_ever_reaches_the_webhook() -> None:
    webhooks = all_of("MutatingWebhookConfiguration")[v.WEBHOOK_CONFIGURATION]["webhooks"]
    assert {webhook["name"] for webhook in webhooks} == {f"{kind}.certjob.io" for kind in SENT}
    assert {kind for kind, (_, resource, *_) in SENT.items() if resource == "secrets"} == {"request", "lost"}
    asks, lost = webhooks[2:]
    assert asks["objectSelector"] == {"matchLabels": {v.REQUEST: "true"}}
    conditions = {c["name"]: c["expression"] for c in asks["matchConditions"]}
    assert all(repr(writer) in conditions["not-certjobs-own"] for writer in WRITERS)
    without = {"key": v.REQUEST, "operator": "NotIn", "values": ["true"]}
    assert lost["objectSelector"] == {"matchLabels": {v.MANAGED: "true"}, "matchExpressions": [without]}


def test_the_policy_lets_certjob_write_the_formats_and_no_other_keys() -> None:
    policy = all_of("ValidatingAdmissionPolicy")["certjob-tenant-secrets"]
    (rule,) = [r["expression"] for r in policy["spec"]["validations"] if r["message"].startswith("certjob-data")]
    look = expressions(all_of("MutatingAdmissionPolicy")["certjob-look"]["spec"])
    (kept,) = [e for e in look if "'/data/'" in e]
    for text in (rule, kept.replace("'add'", "").replace("'/data/'", "")):
        assert set(re.findall(r"'([^']+)'", text)) == {"tls.crt", "tls.key", *Format}


@pytest.mark.parametrize(("name", "spec"), list(pod_specs()), ids=[name for name, _ in pod_specs()])
def test_pods_are_restricted_and_bounded(name: str, spec: Json) -> None:
    security = spec["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 65532)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["enableServiceLinks"] is False
    assert spec["serviceAccountName"] in all_of("ServiceAccount")
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert container["image"] in {"certjob-job", "certjob-webhook"}
        own = {"name": "CERTJOB_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
        assert own in container["env"]
    for volume in spec["volumes"]:
        assert volume.get("emptyDir", {"sizeLimit": ""}).keys() >= {"sizeLimit"}


def test_the_component_for_cert_managers_annotations_widens_one_condition_of_each_entry() -> None:
    plain, wide = ({w["name"]: w for w in webhooks(found)} for found in (documents(), with_component(ALIASES)))
    assert plain.keys() == wide.keys()
    changed = {
        (name, before["name"], after["expression"])
        for name in plain
        for before, after in zip(plain[name]["matchConditions"], wide[name]["matchConditions"], strict=True)
        if before != after
    }
    assert {(name, condition) for name, condition, _ in changed} == {
        ("annotated.certjob.io", "opted-in-now-or-before"),
        ("namespace.certjob.io", "not-sent-by-the-other-entry"),
    }
    (one, other) = (expression for _, _, expression in sorted(changed))
    assert other == f"!{one}"  # at most one of them is sent any request
    assert all(name in one for name in (cert_manager.ISSUER, cert_manager.CLUSTER_ISSUER, v.ISSUER, v.TLS_ACME))


ALIASES = "cert-manager-annotations"


def webhooks(found: Iterable[Json]) -> list[Json]:
    """Of the configuration."""
    return next(d["webhooks"] for d in found if d["kind"] == "MutatingWebhookConfiguration")


def test_with_user_namespaces_every_pod_has_one_and_nothing_else_changes() -> None:
    changed = with_component("user-namespaces")
    specs = [spec for document in changed if (spec := pod_spec(document))]
    assert len(specs) == len(list(pod_specs())) == 6
    assert [spec.pop("hostUsers") for spec in specs] == [False] * 6
    assert changed == list(documents())


def test_the_bootstrap_job_is_named_for_what_it_is_and_stays() -> None:
    """Without ttl, or tools that compare would make it again for ever; by its hash no upgrade has to delete it."""
    ((name, job),) = all_of("Job").items()
    assert name == "certjob-bootstrap"
    notes = job["metadata"]["annotations"]
    assert notes.pop("internal.config.kubernetes.io/needsHashSuffix") == "enabled"
    assert "ttlSecondsAfterFinished" not in job["spec"]
    # No hook of Helm or Argo CD, which would wait for pods that wait for its Secret.
    assert notes == {
        "argocd.argoproj.io/sync-options": "Force=true,Replace=true",
        "kustomize.toolkit.fluxcd.io/force": "Enabled",
    }


def test_one_can_wait_for_the_bootstrap_job_of_a_version() -> None:
    labels = all_of("Job")["certjob-bootstrap"]["metadata"]["labels"]
    assert labels[v.APP_VERSION] == v.VERSION
    selector = f"{v.APP_COMPONENT}={labels[v.APP_COMPONENT]},{v.APP_VERSION}={v.VERSION}"
    assert f"--timeout=300s job -l {selector}\n" in (MANIFESTS.parent / "README.md").read_text()


@pytest.mark.parametrize("kind", ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"])
def test_lists_are_written_with_what_the_api_server_would_add(kind: str) -> None:
    """Or whoever compares finds a difference after each apply; `tests/e2e/test_gitops.py` looks at all of it."""
    for name, policy in all_of(kind).items():
        rules = policy["spec"]["matchConstraints"]["resourceRules"]
        assert [rule.get("scope") for rule in rules] == ["*"] * len(rules), name


def test_service_accounts_give_no_token_to_pods_that_do_not_ask() -> None:
    for name, account in all_of("ServiceAccount").items():
        assert account["automountServiceAccountToken"] is False, name


def test_one_issuer_is_the_default_and_all_are_valid() -> None:
    issuers = {n: c for n, c in all_of("ConfigMap").items() if v.ISSUER in c["metadata"]["labels"]}
    assert set(issuers) == {"letsencrypt", "letsencrypt-staging"}
    defaults = [n for n, c in issuers.items() if c["metadata"].get("annotations", {}).get(v.DEFAULT_ISSUER) == "true"]
    assert defaults == ["letsencrypt-staging"]
    for config_map in issuers.values():
        assert parse_issuer(config_map).server.startswith("https://")
        assert config_map["data"][v.ISSUER_KEY].count('email: ""\n') == 1


def test_the_local_clusters_issuer_is_valid() -> None:
    text = (OVERLAY / "issuer.yaml").read_text()
    issuer = parse_issuer({"metadata": {"name": "pebble"}, "data": {v.ISSUER_KEY: text}})
    assert issuer.private_names


def test_finished_jobs_are_kept_as_long_as_the_policy_allows() -> None:
    annotation = all_of("PodTemplate")[v.POD_TEMPLATE]["metadata"]["annotations"][
        "certjob.io/ttl-seconds-after-finished"
    ]
    assert 0 < int(annotation) <= 86400


def test_only_pods_of_issue_jobs_share_a_quota_so_that_all_others_have_room() -> None:
    quotas = {name: quota["spec"] for name, quota in all_of("ResourceQuota").items()}
    for quota in quotas.values():
        counted = {key for key in quota["hard"] if key == "pods" or key.startswith(("limits.", "requests."))}
        assert not counted or quota["scopes"] == ["Terminating"]
    have_deadlines = [name for name, spec in pod_specs() if "activeDeadlineSeconds" in spec]
    assert have_deadlines == [v.POD_TEMPLATE]
    memory = int(quotas["certjob-issue"]["hard"]["limits.memory"].removesuffix("Gi")) * 1024
    issue = dict(pod_specs())[v.POD_TEMPLATE]["containers"][0]["resources"]["limits"]["memory"]
    assert int(quotas["certjob-issue"]["hard"]["pods"]) * int(issue.removesuffix("Mi")) <= memory


def test_issue_jobs_give_way_to_the_parts_that_every_order_needs() -> None:
    classes = all_of("PriorityClass")
    given = {name: classes[spec["priorityClassName"]] for name, spec in pod_specs()}
    issue = given.pop(v.POD_TEMPLATE)
    assert issue["preemptionPolicy"] == "Never"
    assert -10 < issue["value"] < 0  # below -10 no autoscaler adds a node for it
    assert all(other["value"] > 0 for other in given.values())
