"""An installation in memory, as the manifests have it and the cluster fills it in: for `kubectl certjob doctor`."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.doctoring.facts import RESOURCES
from issuer_job.cli.way.port_forward import PortForward
from issuer_job.cluster.api import CONFIGMAPS, PODS, Json
from issuer_job.issuers.state import CHECK_RESULT, READY, state_body
from tests.fakes.api import Attempt
from tests.fakes.policies import FakePolicies
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine
from tests.worlds.manifests import documents, older

TAG = v.VERSION
BUNDLE = b"-----BEGIN CERTIFICATE-----\nwho is trusted\n-----END CERTIFICATE-----\n"


def render(place: Path) -> bytes:
    """In the place of kustomize: components change nothing here."""
    return _rendered(before_1_36=place.name == "before-1.36")


@cache
def _rendered(*, before_1_36: bool) -> bytes:
    return "\n---\n".join(map(json.dumps, older().values() if before_1_36 else documents())).encode()


@dataclass
class NoWay:
    """In the place of `kubectl port-forward`: nobody may."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, flags: Sequence[str], namespace: str, target: str, remote: int, local: int) -> PortForward:
        self.asked.append(target)
        raise CommandError(f"kubectl port-forward {target}: pods is forbidden")


def installed(*, before_1_36: bool = False, git_version: str = "") -> CommandLine:
    """A cluster with certjob, everything ready, and one certificate; nobody may impersonate."""
    line = CommandLine(kustomize=render, port_forward=NoWay())
    line.api.hooks["secrets"] = FakePolicies(look=not before_1_36).secrets
    line.api.version = git_version or ("v1.33.1" if before_1_36 else "v1.36.4")
    line.api.date = NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")
    for body in older().values() if before_1_36 else documents():
        if body["kind"] in RESOURCES:
            namespace = body["metadata"].get("namespace")
            line.api.add(RESOURCES[body["kind"]], namespace, filled_in(body))
    issuer(line)
    seen.put(line.api, seen.issued(seen.wanted("shop", "shop-tls", "shop.certjob.dev")))
    line.api.add(PODS, v.NAMESPACE, pod("certjob-webhook-1", "webhook"))
    return line


def filled_in(body: Json) -> Json:
    """As the API server, the controllers and bootstrap leave it."""
    body = copy.deepcopy(body)
    template = body.get("template") or body.get("spec", {}).get("template")
    if body["kind"] == "CronJob":
        template = body["spec"]["jobTemplate"]["spec"]["template"]
        moment = f"{NOW - timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}"
        body["status"] = {"lastScheduleTime": moment, "lastSuccessfulTime": moment}
    for container in (template or {}).get("spec", {}).get("containers", ()):
        container["image"] = f"registry.example/{container['image']}:{TAG}"
        container["terminationMessagePath"] = "/dev/termination-log"
    if body["kind"] == "Deployment":
        body["status"] = {"readyReplicas": body["spec"]["replicas"]}
    if body["kind"] == "MutatingWebhookConfiguration":
        for entry in body["webhooks"]:
            entry["rules"] = [{"operations": ["CREATE"]}]
            entry["clientConfig"]["caBundle"] = b64encode(BUNDLE).decode()
            entry["clientConfig"]["service"]["path"] = f"/mutate/x/{'ab' * 32}"
    if body["kind"] == "ValidatingAdmissionPolicy":
        constraints = body["spec"]["matchConstraints"]
        for key, value in (("matchPolicy", "Equivalent"), ("namespaceSelector", {}), ("objectSelector", {})):
            constraints.setdefault(key, value)
        for rule in constraints["resourceRules"]:
            rule.setdefault("scope", "*")
        body["status"] = {"observedGeneration": 1}
    return body


def issuer(
    line: CommandLine, name: str = "letsencrypt", *, default: bool = True, result: str = READY, **data: str
) -> None:
    """One that was tested."""
    notes = {v.DEFAULT_ISSUER: "true"} if default else {}
    for other in ("letsencrypt", "letsencrypt-staging"):
        line.api.add(CONFIGMAPS, v.NAMESPACE, seen.issuer(other))
    line.api.add(CONFIGMAPS, v.NAMESPACE, seen.issuer(name, **notes))
    line.api.add(CONFIGMAPS, v.NAMESPACE, state_body(name, seen.SERVER, {CHECK_RESULT: result, **data}))


def pod(name: str, component: str, *, at: str = "2026-11-27T14:20:00Z", **status: object) -> Json:
    """A pod of certjob's."""
    metadata = {"name": name, "labels": {v.APP_COMPONENT: component}, "creationTimestamp": at}
    return {"metadata": metadata, "status": {"phase": "Running", **status}}


def edit(line: CommandLine, kind: str, name: str, namespace: str | None = v.NAMESPACE) -> Json:
    """What is installed under that name, to be changed and put back by `line.api.add`."""
    found = line.api.stored(RESOURCES[kind], namespace, name)
    assert found is not None
    return found


def may_impersonate(line: CommandLine) -> None:
    """An operator's right."""

    def answer(attempt: Attempt) -> Json:
        return (attempt.new or {}) | {"status": {"allowed": True}}

    line.api.hooks["selfsubjectaccessreviews"] = answer
