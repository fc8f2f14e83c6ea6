"""One issuer serves all that ask for one Secret: nobody gets hosts past its lists by a second Ingress."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.eligibility import refusal
from issuer_job.issuers.host_rules import HostRule
from issuer_job.issuers.schema import Dns01, Http01, Issuer, Selector, Solver
from issuer_job.record.record import IngressClass, Phase, SourceKind
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.samples import source

FREE = Issuer(server="https://ca.certjob.dev/dir")
CLASS = IngressClass(field="traefik")


def refused(issuer: Issuer, *hosts: str, kind: SourceKind = SourceKind.INGRESS) -> str:
    asking = source("web", hosts or (HOST,), ingress_class=CLASS)
    return refusal(issuer, namespace="shop", sources=(source("first", (HOST,)), replace(asking, kind=kind)))


def test_what_it_may_certify_is_not_refused() -> None:
    assert refused(FREE) == ""
    dns = replace(FREE, solvers=(Solver(dns01=Dns01(provider="ddns")),))
    assert refused(dns, "*.certjob.dev") == ""


@pytest.mark.parametrize(
    ("issuer", "host", "why"),
    [
        (replace(FREE, allowed_namespaces=("team-*",)), HOST, "namespace shop"),
        (replace(FREE, ingress_classes=("nginx", "")), HOST, "Ingress web: the issuer is not for its Ingress class"),
        (
            replace(FREE, allowed_hosts=(HostRule(namespaces=("shop",), suffixes=(HOST,)),)),
            "admin.certjob.dev",
            "Ingress web: admin.certjob.dev: the issuer is not for this host in this namespace",
        ),
        (FREE, "*.certjob.dev", "a wildcard needs DNS-01"),
        (
            replace(FREE, solvers=(Solver(selector=Selector(dns_names=(HOST,)), http01=Http01()),)),
            "admin.certjob.dev",
            "none of the issuer's solvers",
        ),
        (FREE, "db.internal", "private name"),
    ],
)
def test_what_one_of_the_sources_may_not_have_is_refused(issuer: Issuer, host: str, why: str) -> None:
    assert why in refused(issuer, host)


def test_a_secret_has_no_class_of_its_own() -> None:
    assert refused(replace(FREE, ingress_classes=("nginx", "")), kind=SourceKind.SECRET) == ""


def second(world: JobWorld, body: Json) -> v.ExitCode:
    """A Secret that issuer `corp` serves for the first Ingress, and then this second one."""
    rule = {"namespaces": ["shop"], "suffixes": [HOST]}
    world.set_issuer("corp", default=False, allowedHosts=[rule])
    world.set_issuer("open", default=False, type="selfsigned")
    first = ingress("first", annotations={v.ISSUER: "corp"}, creationTimestamp="2026-01-01T00:00:00Z")
    world.apply(first)
    assert world.run() is v.ExitCode.DONE
    world.clock.ahead += timedelta(seconds=5)
    world.apply(body)
    return world.run()


def later(host: str) -> Json:
    notes = {v.ISSUER: "open"}
    return ingress("second", hosts=(host,), annotations=notes, creationTimestamp="2026-02-01T00:00:00Z")


def test_a_second_ingress_brings_no_host_past_the_issuers_list(world: JobWorld) -> None:
    notes = {v.ISSUER: "open"}
    body = ingress(
        "second", hosts=("admin.certjob.dev",), annotations=notes, creationTimestamp="2026-02-01T00:00:00Z"
    )
    assert second(world, body) is v.ExitCode.LATER
    record = world.record()
    assert record.phase is Phase.WAITING
    assert record.retry is not None
    assert record.retry.problem.type == "notCertifiable"
    assert "corp" in record.retry.problem.detail
    assert "Ingress second: admin.certjob.dev" in record.retry.problem.detail
    assert len(world.ca.ordered) == 1
    assert record.issued is not None
    assert record.issued.hosts == (HOST,)


def test_a_second_ingress_with_an_allowed_host_joins(world: JobWorld) -> None:
    assert second(world, later(f"www.{HOST}")) is v.ExitCode.DONE
    issued = world.record().issued
    assert issued is not None
    assert issued.hosts == (HOST, f"www.{HOST}")
