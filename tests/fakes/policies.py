"""What the admission policies answer about tenants' Secrets, as a hook of the fake API server.

`FakeApi(hooks={"secrets": FakePolicies().secrets})`. The texts are those of a real 1.36 API server,
as far as the code reads them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from certs.formats import Format
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json, Response
from tests.fakes.store import Attempt, Request, denied, denied_by, status


@dataclass
class FakePolicies:
    """`in_force` False: the validating policies are missing; `look` False: certjob-look is, as before 1.36."""

    in_force: bool = True
    look: bool = True
    full: set[str] = field(default_factory=set)
    """Namespaces whose quota is used up."""
    terminating: set[str] = field(default_factory=set)

    def secrets(self, attempt: Attempt) -> Json | Response | None:
        """The hook, in the order of the real one: mutation, validation, policies, quota."""
        new = attempt.new
        if new is None or attempt.namespace == v.NAMESPACE:
            return None
        if attempt.method == "POST" and attempt.namespace in self.terminating:
            text = f"namespace {attempt.namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": text, "field": "metadata.namespace"}
            message = f"unable to create new content in namespace {attempt.namespace} because it is being terminated"
            return status(403, "Forbidden", message, causes=[cause])
        if attempt.old is not None and self.look and _managed(attempt.old):
            new = _mutated(new, attempt.old, attempt.dry_run)
        refused = _invalid(attempt.name, new, attempt.old) if attempt.old is not None else None
        if refused is None and self.in_force:
            refused = _policy(new, attempt.old)
        if refused is None and attempt.method == "POST" and attempt.namespace in self.full:
            refused = denied(f'secrets "{attempt.name}" is forbidden: exceeded quota: few, requested: secrets=1')
        return refused or new


_OWN = {
    "secrets": ("certjob-own-secrets", "certjob-own-name"),
    "configmaps": ("certjob-configmaps", "certjob-cm"),
    "ingresses": ("certjob-routes", "certjob-route"),
    "jobs": ("certjob-jobs", "certjob-job"),
    "events": ("certjob-events", "certjob-event"),
    "leases": ("certjob-leases", "certjob-lease"),
}


def refused_canary(request: Request, missing: Collection[str]) -> Response | None:
    """What the API server says of a canary, but of that for tenants' Secrets; None of all else, and where the policy
    is among the missing ones.
    """
    parts = request.path.split("/")
    tenants = (v.CANARY_NAMESPACE, "kube-system")
    metadata = (request.body or {}).get("metadata") or {}
    if "never.certjob.io/canary" in (metadata.get("annotations") or {}) and "certjob-foreign-metadata" not in missing:
        return denied_by("certjob-foreign-metadata", "certjob-foreign-metadata: no", what="it")
    if request.query.get("dryRun") != "All" or (request.method == "POST" and parts[-2] in tenants):
        return None
    policy, denial = "", ""
    if request.method == "POST" and metadata.get("name") == "certjob-canary":
        policy, denial = _OWN[parts[-1]]
        if parts[-1] == "jobs" and not metadata.get("labels"):
            policy, denial = (
                "certjob-elsewhere",
                "certjob-job: certjob only creates Jobs, and only those with the label",
            )
    elif request.method == "DELETE" and parts[-2] == "secrets":
        policy, denial = "certjob-secrets-delete", "certjob-delete"
    elif request.method == "PUT" and "certjob-canary" in (metadata.get("labels") or {}):
        if parts[-2] == "ingresses":
            return denied('User "system:serviceaccount:certjob:sweep" cannot update resource "ingresses"')
        policy = denial = "certjob-webhook-config"
    if not policy or policy in missing:
        return None
    return denied_by(policy, f"{denial}: no", what="it")


_DATA = frozenset({"tls.crt", "tls.key", *Format})
_KEPT = ("finalizers", "ownerReferences")


def _managed(secret: Json) -> bool:
    labels = secret["metadata"].get("labels") or {}
    return bool(secret.get("type") == v.TLS_SECRET_TYPE and labels.get(v.MANAGED) == "true")


def _mutated(new: Json, old: Json, dry_run: bool) -> Json:
    """certjob-look: others' metadata stays; a look is answered with what is stored."""
    new["metadata"] |= {key: old["metadata"][key] for key in _KEPT if key in old["metadata"]}
    for kind in ("annotations", "labels"):
        kept = {k: x for k, x in (old["metadata"].get(kind) or {}).items() if not k.startswith("certjob.io/")}
        new["metadata"][kind] = {**(new["metadata"].get(kind) or {}), **kept}
    new["data"] = {**(new.get("data") or {}), **{k: x for k, x in (old.get("data") or {}).items() if k not in _DATA}}
    if dry_run and new["metadata"]["annotations"].get(v.LOOK) == "true":
        new["data"] = old["data"]
        new["metadata"]["labels"] = old["metadata"]["labels"]
        notes = {**(old["metadata"].get("annotations") or {}), v.LOOK: "seen"}
        new["metadata"]["annotations"] = notes | {v.WRITTEN_BY: _written_by(old)}
    return new


def _written_by(old: Json) -> str:
    writers = [
        f"{entry['manager']} at {entry.get('time', '')}"
        for entry in old["metadata"].get("managedFields") or []
        if "f:tls.crt" in entry["fieldsV1"].get("f:data", {})
    ]
    return ", ".join(writers)


def _invalid(name: str, new: Json, old: Json) -> Response | None:
    causes = []
    if new.get("type") != old.get("type"):
        said = f'Invalid value: "{new.get("type")}": field is immutable'
        causes.append({"reason": "FieldValueInvalid", "message": said, "field": "type"})
    if old.get("immutable"):
        said = "Forbidden: field is immutable when `immutable` is set"
        causes.append({"reason": "FieldValueForbidden", "message": said, "field": "data"})
    if not causes:
        return None
    problems = [f"{cause['field']}: {cause['message']}" for cause in causes]
    text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return status(422, "Invalid", f'Secret "{name}" is invalid: {text}', causes=causes)


def _policy(new: Json, old: Json | None) -> Response | None:
    policy, what = "certjob-tenant-secrets", f'secrets "{new["metadata"]["name"]}"'
    if old is not None and not _managed(old):
        return denied_by(policy, "certjob-foreign: this Secret is not managed by certjob", what=what)
    former = ((old or {}).get("data") or {}).items()
    foreign = [one for one in (new.get("data") or {}).items() if one[0] not in _DATA and one not in former]
    if _managed(new) and (foreign or new.get("immutable")):
        said = "certjob-data: only tls.crt, tls.key and the known formats; never immutable"
        return denied_by(policy, said, what=what)
    if not _managed(new):
        said = "certjob-shape: only kubernetes.io/tls Secrets labelled certjob.io/managed=true"
        return denied_by(policy, said, what=what)
    if old is not None and any((new["metadata"].get(key) or []) != (old["metadata"].get(key) or []) for key in _KEPT):
        said = "certjob-meta: no generateName, finalizers or ownerReferences may be set or changed"
        return denied_by(policy, said, what=what)
    return None
