"""Certificates as their records tell: what whoever may read ConfigMaps in certjob's namespace sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cli.base.session import Session
from issuer_job.cluster.api import CONFIGMAPS, Json
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.state import IssuerState
from issuer_job.issuers.types import directory_of
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.status.shown import CertificateStatus, Evidence
from issuer_job.status.status import status_of

if TYPE_CHECKING:
    from issuer_job.status.issuer_status import IssuerStatus

PAGE = 500
"""RecordSight asked for at once: as kubectl does."""


@dataclass
class RecordSight:
    """See `sight.Sight`."""

    session: Session
    evidence: Evidence = Evidence.RECORDS
    version: str = ""
    """Of the collection when it was listed."""

    @cached_property
    def issuers(self) -> Issuers:
        """As they are configured."""
        return Issuers.from_config_maps(self._labelled(v.ISSUER))

    @cached_property
    def states(self) -> dict[str, Json]:
        """What is known of the issuers, by the ConfigMaps' names."""
        return {found["metadata"]["name"]: found for found in self._labelled(v.ISSUER_STATE)}

    @cached_property
    def interval(self) -> timedelta:
        """From one sweep to the next, as the last one had it."""
        known = (IssuerState("", "", held).interval for held in self.states.values())
        return max(known, default=SWEEP_INTERVAL)

    def every(self) -> Iterator[CertificateStatus]:
        """See Sight."""
        cluster, where = self.session.cluster, self.session.certjob_namespace
        for page in cluster.pages(CONFIGMAPS, where, labels=self._labels, limit=PAGE):
            self.version = self.version or page.version
            for found in page.objects():
                yield self._of(found)

    def one(self, secret_name: str) -> CertificateStatus | None:
        """See Sight."""
        found = self.stored(self.session.namespace or "", secret_name)
        return None if found is None else self._of(found)

    def stored(self, namespace: str, secret_name: str) -> Json | None:
        """The record's ConfigMap."""
        name = names.record(namespace, secret_name)
        found = self.session.cluster.find(CONFIGMAPS, self.session.certjob_namespace, name)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return found if labels.get(v.RECORD) == "true" else None

    def host(self, host: str) -> CertificateStatus | None:
        """See Sight: records tell all there is."""
        return None

    def changes(self, *, seconds: int) -> Iterator[CertificateStatus | None]:
        """See Sight."""
        where, labels, version = self.session.certjob_namespace, self._labels, self.version
        events = self.session.cluster.watch(
            CONFIGMAPS, where, labels=labels, resource_version=version, seconds=seconds
        )
        for event in events:
            self.version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                yield None
            elif event["type"] != "BOOKMARK":
                yield self._of(event["object"])

    def issuer(self, name: str, *, certificates: int = 0, hosts: tuple[str, ...] = ()) -> IssuerStatus:
        """What is to be said of an issuer; of its limits what is so for the hosts, if there are any."""
        from issuer_job.status.issuer_status import issuer_status

        issuer = self.issuers.valid.get(name)
        state = None
        if issuer is not None:
            directory = directory_of(issuer)
            state = IssuerState(name, directory, self.states.get(names.issuer_state(name, directory)))
        return issuer_status(name, self.issuers, state, certificates=certificates, now=self.session.now, hosts=hosts)

    @property
    def _labels(self) -> str:
        namespace = self.session.namespace
        return f"{v.RECORD}=true" + (f",{v.RECORD_NAMESPACE}={namespace}" if namespace is not None else "")

    def _of(self, found: Json) -> CertificateStatus:
        return status_of(found, now=self.session.now, interval=self.interval, issuers=self.issuers)

    def _labelled(self, label: str) -> Iterator[Json]:
        return self.session.cluster.items(CONFIGMAPS, self.session.certjob_namespace, labels=f"{label}=true")
