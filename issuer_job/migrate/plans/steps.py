"""What a move consists of: rows for people, and steps of writes, each of which may be repeated. Pure.

A step has only what is not so yet. Whoever is interrupted makes the plan anew, and finds in it what is left.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Resource
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from issuer_job.migrate.translate.issuers import TranslatedIssuer

DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")
KINDS: Mapping[Resource, str] = {
    CONFIGMAPS: "ConfigMap",
    INGRESSES: "Ingress",
    SECRETS: "Secret",
    CERTIFICATES: "Certificate",
    DEPLOYMENTS: "Deployment",
}
"""What moves write."""


class WillBe(StrEnum):
    """What becomes of one certificate."""

    ADOPTED = "adopted"
    ORDERS = "orders"
    """Its next master would order a new one."""
    SIGNED = "signed anew"
    """By a CA of one's own, which takes no orders."""
    CANNOT = "cannot"


@dataclass(frozen=True)
class MoveRow:
    """One certificate of the report: who asks for it, from which issuer, what becomes of it, and why."""

    namespace: str
    secret_name: str
    asker: str
    now_from: str
    will_be: WillBe
    why: str

    @property
    def moves(self) -> bool:
        """Whether it can be moved without an order."""
        return self.will_be in {WillBe.ADOPTED, WillBe.SIGNED}


class Verb(StrEnum):
    """What is done to an object."""

    CREATE = "create"
    PATCH = "patch"
    """By a merge patch (RFC 7396)."""
    DELETE = "delete"
    """Without what it owns, which stays."""


@dataclass(frozen=True)
class Write:
    """One write. `what` says for people what it does; `body` is the object, or the merge patch."""

    verb: Verb
    resource: Resource
    namespace: str
    name: str
    what: str
    body: Json | None = None

    def __str__(self) -> str:
        return f"{KINDS[self.resource]} {self.namespace}/{self.name}: {self.what}"

    @property
    def kubectl(self) -> str:
        """The same as a line for a shell."""
        resource = self.resource.plural
        if self.resource.api.startswith("/apis/") and self.resource.plural not in {"deployments"}:
            group = self.resource.api_version.partition("/")[0]
            resource = f"{self.resource.plural}.{group}"
        where = f"{resource} -n {shlex.quote(self.namespace)} {shlex.quote(self.name)}"
        if self.verb is Verb.DELETE:
            return f"kubectl delete {where} --cascade=orphan --ignore-not-found"
        body = shlex.quote(json.dumps(self.body, separators=(",", ":"), sort_keys=True))
        if self.verb is Verb.CREATE:
            return f"printf %s {body} | kubectl apply -f -"
        return f"kubectl patch {where} --type=merge -p {body}"


class Until(StrEnum):
    """What a step waits for at its end."""

    NOTHING = ""
    READY = "ready"
    """The step's issuers are."""
    STOPPED = "stopped"
    """No pod of the step's Deployments runs any more."""
    ADOPTED = "adopted"
    """certjob has the step's certificates, without an order."""
    KEPT = "kept"
    """cert-manager has them, without an order."""
    GONE = "gone"
    """None of the step's Certificates is on its way out any more, nor what the step deletes."""


@dataclass(frozen=True)
class MoveStep:
    """Some writes, in this order, and what is waited for when they are done; `about` are issuers, or namespaces and
    names of Secrets, Deployments or Certificates.
    """

    title: str
    writes: tuple[Write, ...] = ()
    until: Until = Until.NOTHING
    about: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.writes or self.about)


@dataclass(frozen=True)
class MovePlan:
    """All of a move, as far as it is not done. `issuers` are those that it needs, `notes` for people to look at.

    `refused` says why there are no steps, and is empty if there may be. `drafts` are objects for people to look at
    and apply, each with the folder where it is written to.
    """

    rows: tuple[MoveRow, ...]
    steps: tuple[MoveStep, ...] = ()
    issuers: tuple[TranslatedIssuer, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""
    drafts: tuple[tuple[str, Json], ...] = ()

    @property
    def writes(self) -> Iterator[Write]:
        """Of all steps."""
        return (write for step in self.steps for write in step.writes)


def changed(metadata: Json, wanted: Mapping[str, Mapping[str, str | None]]) -> Json:
    """The merge patch that makes labels and annotations of an object what is wanted, None for one that is to go; of
    what is so already it says nothing, and is empty if all is.
    """
    patch = {}
    for kind, values in wanted.items():
        has = metadata.get(kind) or {}
        new = {name: value for name, value in values.items() if has.get(name) != value}
        if new:
            patch[kind] = new
    return {"metadata": patch} if patch else {}


def told(values: Mapping[str, str | None]) -> str:
    """Labels or annotations for people: what is set, and what goes."""
    return ", ".join(f"{name}={value}" if value is not None else f"{name}-" for name, value in values.items())


def patch_metadata(
    resource: Resource, found: Json, *, what: str = "", **wanted: Mapping[str, str | None]
) -> Iterator[Write]:
    """The write that makes labels and annotations what is wanted; none if they are."""
    metadata = found["metadata"]
    body = changed(metadata, wanted)
    if body:
        said = what or ", ".join(told(values) for values in body["metadata"].values())
        yield Write(Verb.PATCH, resource, metadata["namespace"], metadata["name"], said, body)


def stopping(what: str, about: tuple[str, str], replicas: int, annotations: Mapping[str, str]) -> Iterator[MoveStep]:
    """Another tool's Deployment is stopped, and remembers how many replicas it had; nothing if others stopped it."""
    body = {"metadata": {"annotations": {v.REPLICAS: str(replicas)}}, "spec": {"replicas": 0}}
    stop = Write(Verb.PATCH, DEPLOYMENTS, *about, "no replicas: nothing of it runs", body)
    if replicas or v.REPLICAS in annotations:
        yield MoveStep(f"stop {what}", (stop,) if replicas else (), Until.STOPPED, (about,))


def filled(steps: Iterable[MoveStep]) -> tuple[MoveStep, ...]:
    """Those in which something is to be done."""
    return tuple(step for step in steps if step)
