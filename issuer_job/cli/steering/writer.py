"""Writes of one command: what the API server warns of is said, and a dry run writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import click

from issuer_job import names
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.flags import Decorator
from issuer_job.cli.base.session import Session
from issuer_job.cli.way.hearing import Hearing
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Cluster, Json, NotFound, Resource, Response, Transport
from issuer_job.cluster.refusals import RefusedBy, refusal
from issuer_job.record.record import SourceKind
from issuer_job.status.shown import CertificateStatus

MANAGER = "kubectl-certjob"
"""The field manager of what it writes."""


class DryRun(StrEnum):
    """How much of a write is done."""

    NONE = "none"
    CLIENT = "client"
    """Nothing is sent."""
    SERVER = "server"
    """It is sent, admitted, and not stored."""

    @property
    def suffix(self) -> str:
        """As kubectl has it."""
        return {DryRun.CLIENT: " (dry run)", DryRun.SERVER: " (server dry run)"}.get(self, "")


DRY_RUN: tuple[Decorator, ...] = (
    click.option(
        "--dry-run",
        type=click.Choice([str(each) for each in DryRun]),
        default=str(DryRun.NONE),
        help="client: say what would be written; server: have it admitted, and not stored.",
    ),
)


@dataclass(frozen=True)
class Annotatable:
    """An object that can be annotated; `what` is what it is called in sentences."""

    resource: Resource
    namespace: str
    name: str
    what: str


def askers_of(shown: CertificateStatus) -> list[Annotatable]:
    """What asks for the certificate, and is there: the first is the one that decides its settings.

    Raises CommandError if that may not be known.
    """
    if "askedBy" in shown.unknown:
        raise CommandError("what asks for it may not be read (list ingresses, list secrets)")
    kinds = {str(kind): kind.resource for kind in SourceKind}
    return [
        Annotatable(kinds[asker.kind], shown.namespace, asker.name, f"{asker.kind} {asker.name}")
        for asker in shown.asked_by
        if not asker.gone and asker.kind in kinds and not asker.name.endswith("...")
    ]


def record_of(shown: CertificateStatus, certjob_namespace: str) -> Annotatable:
    """Its record, an operator's to annotate."""
    name = names.record(shown.namespace, shown.name)
    return Annotatable(CONFIGMAPS, certjob_namespace, name, f"record {name}")


@dataclass(frozen=True)
class _NothingStored:
    """A transport whose writes are dry runs."""

    inner: Transport

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        if method != "GET" and "dryRun=All" not in path:
            path += f"{'&' if '?' in path else '?'}dryRun=All"
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


@dataclass(frozen=True)
class Writer:
    """Writes in the session's name."""

    session: Session
    dry_run: DryRun

    @cached_property
    def cluster(self) -> Cluster:
        """Its writes are as `dry_run` says, and its warnings for `tell_warnings`. Not for the dry run `client`."""
        inner: Transport = self._hearing
        if self.dry_run is DryRun.SERVER:
            inner = _NothingStored(inner)
        return Cluster(inner, timeout=self.session.cluster.timeout)

    @cached_property
    def _hearing(self) -> Hearing:
        return Hearing(self.session.cluster.transport)

    def annotate(self, places: Sequence[Annotatable], annotations: dict[str, str]) -> Annotatable:
        """Annotate the first of the places that is there and may be written; which that was.

        Raises CommandError if none is, with the right that is missing; KubeError.
        """
        return self.patch(places, {"metadata": {"annotations": annotations}})

    def patch(self, places: Sequence[Annotatable], body: Json) -> Annotatable:
        """The same with any merge patch."""
        if self.dry_run is DryRun.CLIENT and places:
            return places[0]
        problem = "there is nothing to write on"
        for place in places:
            try:
                self.cluster.patch(place.resource, place.namespace, place.name, body, manager=MANAGER)
            except NotFound:
                problem = f"{place.what} is gone"
                continue
            except ApiError as refused:
                found = refusal(refused)
                if found is None:
                    raise
                self.tell_warnings()
                problem = refused.message
                if found.by is RefusedBy.OTHER:  # a right: the next one may be writable
                    continue
                raise CommandError(f"{place.what} cannot be written: {found.brief}") from None
            self.tell_warnings()
            return place
        raise CommandError(problem)

    def tell_warnings(self) -> None:
        """As kubectl shows them."""
        for warning in self._hearing.take():
            self.session.terminal.note(f"Warning: {warning}")
