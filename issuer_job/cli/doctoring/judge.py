"""What follows from what was read of an installation. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from issuer_job import last_word
from issuer_job import vocabulary as v
from issuer_job.cli.doctoring.drift import Drift, Key
from issuer_job.cli.out.verdicts import Judged, counted, fail, ok, warn
from issuer_job.cli.sight.sweeps import Sweeps
from issuer_job.cluster.api import Json
from issuer_job.cluster.quota import Quota
from issuer_job.record.record import SCHEMA_VERSION
from issuer_job.status import moments
from issuer_job.status.issuer_status import IssuerStatus

KUBERNETES, PARTS, POLICIES, DRIFT = "Kubernetes", "parts", "policies", "manifests"
SWEEP, ISSUERS, CLOCK, QUOTA, NAMESPACE = "sweep", "issuers", "clock", "quota", "namespace"
RUNBOOK = "docs/runbook.md"
DEPLOYMENTS: Mapping[str, str] = {
    "webhook": "certjob-webhook",
    "responder": "certjob-responder",
    "view": "certjob-view",
}
FIRST_POLICY = (1, 36)
"""The first Kubernetes with the admission policy that answers looks."""
SKEW = timedelta(seconds=60)
FULL = 0.8
STALE = 4
"""Intervals without a sweep that succeeded, as the alert CertjobSweepStale has it."""
POD_SECURITY = "pod-security.kubernetes.io/enforce"
_STAGING = re.compile(r"(^|[.-])staging([.-]|\d)")
_VERSION = re.compile(r"(\d+)\.(\d+)")


def kubernetes_version(text: str) -> tuple[int, int] | None:
    """Major and minor of "1.36.4"."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2])) if found else None


def looks_by_version(template: Json) -> bool:
    """Whether it is the installation for clusters before 1.36."""
    containers = ((template.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    variables = {each.get("name"): each.get("value") for each in containers[0].get("env") or ()}
    return variables.get("CERTJOB_LOOK") == "resource-version"


def image_tags(objects: Mapping[str, Json]) -> dict[str, str]:
    """By what runs it the tag of its image; of one that has none what it is called by instead."""
    tags = {}
    for what, body in objects.items():
        template = body.get("template") or (body.get("spec") or {}).get("template") or {}
        containers = (template.get("spec") or {}).get("containers") or [{}]
        image = str(containers[0].get("image", ""))
        tags[what] = image.partition("@")[0].rpartition("/")[2].rpartition(":")[2] or image
    return tags


def judge_versions(kubernetes: str, template: Json, tags: Mapping[str, str]) -> Iterator[Judged]:
    """Which installation it is, and whether its parts are of one version."""
    version, older = kubernetes_version(kubernetes), looks_by_version(template)
    which = "before 1.36" if older else "1.36 or later"
    different = sorted(set(tags.values()))
    images = f"images {', '.join(different)}"
    if different == [v.VERSION]:
        images = f"images and plugin {v.VERSION}"
    says = f"{kubernetes}; installation for {which}; {images}, records version {SCHEMA_VERSION}"
    docs = "docs/kubernetes-versions.md"
    if version is None:
        yield warn(KUBERNETES, f"its version is not known ({kubernetes[:40]}); installation for {which}; {images}")
    elif older and version >= FIRST_POLICY:
        yield warn(KUBERNETES, f"{says}: apply the one for 1.36 or later, which sees what Secrets hold", docs=docs)
    elif not older and version < FIRST_POLICY:
        yield fail(KUBERNETES, f"{says}: apply the one for clusters before 1.36, nothing is issued", docs=docs)
    else:
        yield ok(KUBERNETES, says)
    if len(different) > 1:
        told = ", ".join(f"{what} {tag}" for what, tag in tags.items())
        yield warn(KUBERNETES, f"the parts are of several versions: {told}")
    elif all(_VERSION.match(tag) for tag in different) and different != [v.VERSION]:
        yield warn(KUBERNETES, f"this is of version {v.VERSION}: it compares with other manifests than were applied")


def judge_parts(deployments: Mapping[str, Json]) -> Iterator[Judged]:
    """Whether as many pods are ready as there shall be."""
    told, wrong = [], list[str]()
    for what, name in DEPLOYMENTS.items():
        found = deployments.get(name)
        if found is None:
            told += ["view left out"] if what == "view" else []
            wrong += [] if what == "view" else [f"there is no Deployment {name}"]
            continue
        wanted = int((found.get("spec") or {}).get("replicas", 1))
        ready = int((found.get("status") or {}).get("readyReplicas") or 0)
        told.append(f"{what} {ready}/{wanted}")
        wrong += [f"{what}: {ready} of {wanted} pods are ready"] if ready < max(wanted, 1) else []
    if not wrong:
        yield ok(PARTS, f"{', '.join(told)} ready")
    for one in wrong:
        none = one.startswith("there is no") or ": 0 of" in one
        docs = f"{RUNBOOK}#certjobwebhookdown" if "webhook" in one else "docs/troubleshooting.md#symptoms"
        yield (fail if none else warn)(PARTS, one, docs=docs)


def judge_webhook(configuration: Json | None) -> Iterator[Judged]:
    """Whether the API server sends anything to the webhook."""
    docs = "docs/troubleshooting.md#symptoms"
    if configuration is None:
        yield fail(PARTS, f"there is no MutatingWebhookConfiguration {v.WEBHOOK_CONFIGURATION}", docs=docs)
        return
    silent = [entry["name"] for entry in configuration.get("webhooks") or () if not entry.get("rules")]
    if silent:
        says = f"the API server sends the webhook nothing for {', '.join(silent)}: bootstrap and sweep fill that in"
        yield fail(PARTS, says, docs=docs)


def judge_drift(drift: Drift, of_version: str) -> Iterator[Judged]:
    """What is not as in the manifests: a fault where it bounds rights, else perhaps an overlay's."""
    strict, rest = drift.of(strict=True), drift.of(strict=False)
    docs = "docs/security.md#the-policies"
    if strict.missing:
        yield fail(POLICIES, f"not installed: {_listed(strict.missing)}", docs=docs)
    for key, paths in strict.changed:
        says = f"{_named(key)} is not as in the manifests of {of_version}: {', '.join(paths)}"
        yield fail(POLICIES, says, docs=docs)
    if rest.missing:
        yield fail(DRIFT, f"not installed: {_listed(rest.missing)}")
    if rest.changed:
        told = "; ".join(f"{_named(key)} {paths[0]}" for key, paths in rest.changed[:5])
        more = f"; and {len(rest.changed) - 5} more" if len(rest.changed) > 5 else ""
        yield warn(DRIFT, f"not as in the manifests of {of_version}, perhaps by an overlay: {told}{more}")


def _named(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _listed(keys: Sequence[Key]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(map(_named, keys[:5])) + more


def judge_sweep(sweeps: Sweeps | None, pods: Sequence[Json], now: datetime) -> Judged:
    """When one succeeded last, and what the last one said at its end."""
    docs = f"{RUNBOOK}#certjobsweepstale"
    if sweeps is None:
        return fail(SWEEP, "there is no CronJob certjob-sweep: nothing is renewed", docs=docs)
    if sweeps.suspended:
        return fail(SWEEP, "the CronJob certjob-sweep is suspended: nothing is renewed", docs=docs)
    said = _last_word(pods)
    since, every = sweeps.succeeded or sweeps.created, moments.short(sweeps.interval)
    if since is None or now - since <= STALE * sweeps.interval:
        ago = f"last success {moments.short(now - sweeps.succeeded)} ago" if sweeps.succeeded else "none yet"
        return ok(SWEEP, f"{ago}, every {every}")
    ago = f"last success {moments.short(now - since)} ago" if sweeps.succeeded else "never succeeded"
    return fail(SWEEP, f"{ago}, should be {every}{said}", docs=docs)


def _last_word(pods: Sequence[Json]) -> str:
    """Of the newest pod that has ended; of one that never began, why."""
    for pod in reversed(pods):
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            state = container.get("state") or {}
            if ended := state.get("terminated"):
                word = last_word.read(str(ended.get("message") or ""))
                code = int(ended.get("exitCode") or 0)
                if word is not None:
                    return f': last word "{word.problem or f"ended with {word.exit_code}"}"'
                return f": its last pod ended with {code} ({str(ended.get('reason') or '')[:40]})"
            if waiting := state.get("waiting"):
                return f": its pod waits: {str(waiting.get('reason') or '')[:60]}"
        if status.get("phase") == "Pending":
            conditions = status.get("conditions") or ()
            why = next((str(one.get("message") or "") for one in conditions if one.get("status") == "False"), "")
            return f": its pod is pending: {why[:200]}"
    return ""


def judge_issuers(issuers: Sequence[IssuerStatus]) -> Iterator[Judged]:
    """Whether there is a default one that browsers trust, and which are of no use."""
    default = next((issuer for issuer in issuers if issuer.default), None)
    ready = sum(issuer.ready is True for issuer in issuers)
    if default is None:
        says = (
            "none is the default: Ingresses have to name one" if issuers else "there is none: nothing can be issued"
        )
        yield warn(ISSUERS, says, docs="docs/issuers.md")
    elif _STAGING.search(default.ca):
        yield warn(ISSUERS, f"{default.name} is the default issuer, whose certificates browsers do not trust")
    for issuer in issuers:
        if issuer.ready is False:
            why = next((f": {found.reason} {found.path}: {found.message}" for found in issuer.findings), "")
            says = f"{issuer.name} is not ready{why}"[:400]
            docs = f"{RUNBOOK}#certjobissuernotready"
            yield (fail if issuer.default else warn)(ISSUERS, says, docs=docs)
    if default is not None and default.ready is not False:
        yield ok(ISSUERS, f"{ready} of {len(issuers)} ready, {default.name} is the default")


def judge_clock(server: datetime | None, here: datetime) -> Judged | None:
    """Whether this machine and the API server have the same time; None if that says none."""
    if server is None:
        return None
    apart = abs(server - here)
    if apart <= SKEW:
        return ok(CLOCK, "the API server's is this machine's")
    ahead = "ahead of" if server > here else "behind"
    says = (
        f"the API server's is {moments.seconds(apart, whole=True)} {ahead} this machine's: one of both is wrong (NTP)"
    )
    return warn(CLOCK, says, docs="docs/troubleshooting.md#clockskew")


def judge_quota(quota: Quota) -> Judged:
    """How full certjob's own quotas are."""
    used = {kind: (of, most) for kind, (of, most) in quota.kinds.items() if most}
    full = [f"{kind} {of}/{most}" for kind, (of, most) in used.items() if of > FULL * most]
    if full:
        return fail(QUOTA, f"over {FULL:.0%} used: {', '.join(full)}", docs="docs/troubleshooting.md#quotaexceeded")
    fullest = max((of / most for of, most in used.values()), default=0.0)
    return ok(QUOTA, f"{fullest:.0%} used at most" if used else "none is set")


def judge_namespace(namespace: Json | None, name: str) -> Judged:
    """Whether pods there are held to the restricted Pod Security standard."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    if labels.get(POD_SECURITY) == "restricted":
        return ok(NAMESPACE, f"{name} enforces the restricted Pod Security standard")
    how = f"kubectl label namespace {name} {POD_SECURITY}=restricted"
    return warn(NAMESPACE, f"{name} does not enforce the restricted Pod Security standard: {how}")


def judge_records(count: int, broken: Sequence[str]) -> Judged | None:
    """Records that nobody can read; None if there are none of these."""
    if not broken:
        return None
    says = f"{len(broken)} of {counted(count, 'record')} cannot be read: {', '.join(broken[:3])}"
    return warn("records", says, docs="docs/troubleshooting.md#recordunreadable")
