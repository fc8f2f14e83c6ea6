"""What certjob remembers is deleted: rebuilt, and nothing that is valid is ordered again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Resource
from issuer_job.record.record import Phase
from tests.e2e import parts, sweeps
from tests.e2e.observe import cluster
from tests.e2e.sweeps import sweep_as_job
from tests.load.faults.estate import Estate, estate
from tests.load.faults.report import Report, row
from tests.load.lifecycle import Sweeper

COUNT = 8
SWEEP_SECONDS = 30.0
HEALED_SECONDS = 420.0


@row("records-lost")
def records(report: Report) -> None:
    """records deleted, one by one and all at once"""
    with _kept(report) as made:
        names = [record.name for record in made.records().values()]
        for name in names[:2]:
            cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
            sweep_as_job()
            report.holds(f"rebuilt: {name}", again := made.issued(), good=again)
        for name in names:
            cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
        sweep_as_job()


@row("claims-lost")
def claims(report: Report) -> None:
    """claims deleted, all at once"""
    with _kept(report) as made:
        for claim in _claims(made):
            cluster().delete(CONFIGMAPS, v.NAMESPACE, claim["metadata"]["name"])
        sweep_as_job()
        report.exactly("claims after a sweep", len(_claims(made)), COUNT)


@row("routes-lost")
def routes_and_challenges(report: Report) -> None:
    """challenge routes and challenges deleted in the middle of 8 orders"""
    with estate("faultlost") as made, Sweeper(SWEEP_SECONDS):
        with parts.scaled("certjob-responder", 0):  # holds the orders: nobody answers their challenges
            made.grow(COUNT)
            held = sweeps.wait(lambda: _all(made, Phase.AUTHORIZING), 60)
            report.holds("all orders under way", held, good=held)
            for resource, label in ((INGRESSES, v.ROUTE), (CONFIGMAPS, v.CHALLENGE)):
                query = urlencode({"labelSelector": f"{label}=true"})
                cluster().transport.send("DELETE", f"{resource.path(v.NAMESPACE)}?{query}", body=None, timeout=30)
        made.judge(report, seconds=HEALED_SECONDS)


@row("account-lost")
def account(report: Report) -> None:
    """the account's Secret deleted"""
    _account_objects(report, SECRETS, v.ACCOUNT)


@row("issuer-state-lost")
def issuer_state(report: Report) -> None:
    """what is known of the issuer's account deleted"""
    _account_objects(report, CONFIGMAPS, v.ISSUER_STATE)


def _account_objects(report: Report, resource: Resource, label: str) -> None:
    with _kept(report, more=1) as made:
        made.remember_keys()
        for item in list(cluster().items(resource, v.NAMESPACE, labels=f"{label}=true")):
            if f"-{made.issuer}-" in item["metadata"]["name"]:
                cluster().delete(resource, v.NAMESPACE, item["metadata"]["name"])
        sweep_as_job()
        made.grow(1)  # and the next one is ordered
        if not made.issued():
            sweep_as_job()


@contextmanager
def _kept(report: Report, *, more: int = 0) -> Iterator[Estate]:
    """Certificates that stay what they are; `more` is how many the block applies besides."""
    with estate("faultlost", COUNT) as made:
        before = made.serials()
        yield made
        with Sweeper(SWEEP_SECONDS):
            made.judge(report, orders=COUNT + more, seconds=HEALED_SECONDS)
        kept = {name: serial for name, serial in made.serials().items() if name in before}
        report.holds("the same certificates as before", kept == before, good=kept == before)


def _all(made: Estate, phase: Phase) -> bool:
    phases: list[Phase] = [record.phase for record in made.records().values()]
    return phases == [phase] * made.count


def _claims(made: Estate) -> list[Json]:
    found = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true")
    return [claim for claim in found if claim["data"].get("namespace") == made.space]
