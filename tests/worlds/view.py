"""A view over objects that a test puts there, without a cluster or threads; and what its port would say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster, Json
from issuer_job.last_word import LastWord, Step, Work
from issuer_job.metrics.exposition import Exposition
from issuer_job.record.record import Record
from issuer_job.record.store import to_config_map
from tests.fakes.api import FakeApi
from tests.worlds.samples import NOW
from webhook.view.metrics import gauges
from webhook.view.snapshot import Snapshot

WORD = LastWord(work=Work.ISSUE, exit_code=0, seconds=1.4, steps={Step.START: 0.2, Step.AUTHORIZING: 0.9})
Told = dict[str, dict[tuple[tuple[str, str], ...], float]]


def told_in(text: bytes) -> Told:
    """Samples by name, without the prefix, and labels, in the order of their names."""
    told: Told = {}
    for family in text_string_to_metric_families(text.decode()):
        for name, labels, value, *_ in family.samples:
            told.setdefault(name.removeprefix("certjob_"), {})[tuple(sorted(labels.items()))] = value
    return told


def issuer_object(name: str = "le", text: str = "server: https://ca.certjob.dev/dir\n") -> Json:
    return {
        "metadata": {"name": name, "namespace": v.NAMESPACE, "uid": f"uid-{name}", "labels": {v.ISSUER: "true"}},
        "data": {v.ISSUER_KEY: text},
    }


class ViewWorld:
    """What is put there is seen at once."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.api = FakeApi()
        self.exposition = Exposition()
        self.snapshot = Snapshot(Cluster(self.api), self.exposition, clock=lambda: self.now)
        self.exposition.gauges(lambda: gauges(self.snapshot, now=self.now))

    def first(self, *records: Record) -> None:
        """The lists that a view begins with."""
        self.snapshot.issuers.replace([issuer_object()])
        self.snapshot.states.replace([])
        self.snapshot.pods.replace([])
        self.snapshot.certificates.replace([stored(record) for record in records])

    def put(self, record: Record) -> None:
        """The record is written."""
        self.snapshot.certificates.put(stored(record))

    def later(self, **duration: float) -> datetime:
        """The time goes on."""
        self.now += timedelta(**duration)
        return self.now

    def told(self) -> Told:
        """What Prometheus would read."""
        return told_in(self.exposition.text())

    def series(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Of one family."""
        for labels, value in self.told().get(name, {}).items():
            yield dict(labels), value


def stored(record: Record) -> Json:
    """The ConfigMap of a record, as the API server has it."""
    body = to_config_map(record)
    body["metadata"] |= {"uid": record.uid or f"uid-{record.name}", "resourceVersion": "1"}
    return body


def pod(uid: str, word: LastWord | str | None = WORD, *, at: datetime = NOW, component: str = "issue") -> Json:
    """One of certjob's; it has ended if it says something."""
    text = word if isinstance(word, str | None) else msgspec.json.encode(word).decode()
    ended = {"terminated": {"exitCode": 0, "finishedAt": at.isoformat(), "message": text}} if text is not None else {}
    return {
        "metadata": {"uid": uid, "name": uid, "labels": {v.APP_COMPONENT: component}},
        "status": {"containerStatuses": [{"state": ended}]},
    }
