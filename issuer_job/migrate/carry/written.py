"""A move as files: for kustomize what is to stand in Git, and for a shell, line by line, what is not. Pure.

DIR/issuers, DIR/requests  resources: certjob's issuers, and Secrets that ask in the place of Certificates
DIR/certificates, DIR/cluster-issuers  the same for cert-manager
DIR/ingresses              a component: patches of Ingresses
DIR/credentials.sh         copies account keys, HMAC keys and tokens to where certjob's issuers have them
DIR/steps.sh               all writes of the move, in their order
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from issuer_job.migrate.plans.steps import MovePlan, Until, Verb
from issuer_job.migrate.translate.issuers import Credential, TranslatedIssuer

Files = dict[PurePosixPath, str]
_HEAD = "#!/bin/sh\nset -eu\n"


def files_of(plan: MovePlan) -> Files:
    """What is to be written, by path below the directory."""
    files: Files = {}
    _resources(files, "issuers", [each.config_map for each in plan.issuers if not each.exists])
    _resources(files, "requests", list(_requests(plan)))
    for folder in sorted({folder for folder, _ in plan.drafts}):
        _resources(files, folder, [each for where, each in plan.drafts if where == folder])
    made = (write.body for write in plan.writes if write.resource == CERTIFICATES and write.verb is Verb.CREATE)
    _resources(files, "certificates", [body for body in made if body is not None])
    _patches(files, plan)
    lines = [line for issuer in plan.issuers for line in credential_lines(issuer)]
    if lines:
        files[PurePosixPath("credentials.sh")] = _HEAD + "".join(f"{line}\n" for line in lines)
    if plan.steps:
        files[PurePosixPath("steps.sh")] = _HEAD + "".join(f"{line}\n" for line in _step_lines(plan))
    return files


def credential_lines(issuer: TranslatedIssuer) -> Iterator[str]:
    """Shell lines that copy what is secret, which goes from one kubectl to the other, and is never shown."""
    if not issuer.credentials:
        return
    name = names.credentials(issuer.name)
    where = f"-n {v.NAMESPACE} {name}"
    yield f"kubectl get secret {where} >/dev/null 2>&1 || kubectl create secret generic {where}"
    for each in issuer.credentials:
        template = shlex.quote(_template(each))
        source = f"-n {shlex.quote(each.namespace)} {shlex.quote(each.secret)}"
        yield (
            f"kubectl get secret {source} -o go-template={template} |\n"
            f"  kubectl patch secret {where} --type=merge --patch-file=/dev/stdin"
        )


def _template(each: Credential) -> str:
    """A Go template that makes the merge patch of the Secret's data."""
    key, stored = json.dumps(each.key), f"index .data {json.dumps(each.source_key)}"
    if not each.form:
        return f'{{"data":{{{key}:"{{{{{stored}}}}}"}}}}'
    if not each.decoded:
        return f'{{"stringData":{{{key}:"{each.form.replace("{}", f"{{{{{stored}}}}}")}"}}}}'
    form = json.dumps(each.form.replace("%", "%%").replace("{}", "%s"))
    return f'{{"stringData":{{{key}:{{{{printf {form} ({stored} | base64decode) | printf "%q"}}}}}}}}'


def _resources(files: Files, folder: str, objects: Iterable[Json]) -> None:
    found = {_file(each["metadata"]): each for each in objects}
    if found:
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        files[PurePosixPath(folder, "kustomization.yaml")] = _yaml(kustomization | {"resources": sorted(found)})
        files.update({PurePosixPath(folder, name): _yaml(each) for name, each in found.items()})


def _requests(plan: MovePlan) -> Iterator[Json]:
    """Secrets that ask, as they are applied; nothing of what is in them."""
    asking: dict[tuple[str, str], dict[str, str]] = {}
    for write in plan.writes:
        if write.resource == SECRETS and write.body is not None:
            notes = asking.setdefault((write.namespace, write.name), {})
            said = (write.body["metadata"].get("annotations") or {}).items()
            notes |= {name: text for name, text in said if name.startswith(v.PREFIX) and text is not None}
    for (namespace, name), notes in asking.items():
        notes.pop(v.MOVING, None)
        if v.HOSTS in notes:
            metadata = {"namespace": namespace, "name": name, "labels": {v.REQUEST: "true"}, "annotations": notes}
            yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": v.TLS_SECRET_TYPE}


def _patches(files: Files, plan: MovePlan) -> None:
    after: dict[tuple[str, str], dict[str, str | None]] = {}
    for write in plan.writes:
        if write.resource == INGRESSES and write.verb is Verb.PATCH and write.body is not None:
            notes = after.setdefault((write.namespace, write.name), {})
            notes |= write.body["metadata"].get("annotations") or {}
    patches = []
    for (namespace, name), notes in sorted(after.items()):
        notes.pop(v.MOVING, None)
        if not notes:
            continue
        metadata = {"namespace": namespace, "name": name, "annotations": notes}
        body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata}
        files[PurePosixPath("ingresses", _file(metadata))] = _yaml(body)
        patches.append({"path": _file(metadata)})  # with a `target` kustomize would write null as text
    if patches:
        head = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
        files[PurePosixPath("ingresses", "kustomization.yaml")] = _yaml(head | {"patches": patches})


def _step_lines(plan: MovePlan) -> Iterator[str]:
    for step in plan.steps:
        yield f"\n# {step.title}"
        yield from (write.kubectl for write in step.writes)
        yield from _waiting(step.until, step.about)


def _waiting(until: Until, about: Iterable[tuple[str, str]]) -> Iterator[str]:
    for namespace, name in about:
        where = f"-n {shlex.quote(namespace)} {shlex.quote(name)}"
        if until is Until.READY:
            yield f"# before the next line issuer {name} has to be ready: kubectl certjob issuers"
        elif until is Until.STOPPED:
            yield f"kubectl rollout status -n {shlex.quote(namespace)} deployment/{shlex.quote(name)} --timeout=120s"
        elif until is Until.ADOPTED:
            yield f"kubectl certjob wait {where}"
        elif until is Until.GONE:
            gone = f"certificates.cert-manager.io/{shlex.quote(name)}"
            yield f"kubectl wait -n {shlex.quote(namespace)} --for=delete {gone} --timeout=120s"


def _file(metadata: Mapping[str, Any]) -> str:
    full = ".".join(filter(None, [metadata.get("namespace", ""), metadata["name"]]))
    plain = names.fit(full, 200, unique=full)
    return f"{plain.replace('/', '-')}.yaml"


def _yaml(document: Json) -> str:
    return msgspec.yaml.encode(document).decode()
