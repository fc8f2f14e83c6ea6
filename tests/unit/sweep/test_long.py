"""Certificates over months in which something stays wrong: none ends in silence, and nothing good is given away."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES
from issuer_job.demand.ingress import named_hosts
from issuer_job.hosts import at_sweep
from issuer_job.hosts.claims import claim_body
from issuer_job.issuers.options import Options
from issuer_job.launch.configuration import SettingsCache
from issuer_job.record.record import Phase
from issuer_job.sweep import inventory
from tests.worlds.hosts import holder
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.sweep import issue_one, jobs, orders, run

pytestmark = pytest.mark.exhaustive

OTHER = "other.certjob.dev"
HOUR = timedelta(hours=1)


def live_through(world: JobWorld, hours: int, *, every: int = 1) -> None:
    """A sweep every so many hours, and every Job that it launches."""
    for _ in range(0, hours, every):
        world.clock.ahead += every * HOUR
        run(world)
        for record in inventory.read_known(world.cluster, now=world.clock.read()).records.values():
            if record.phase is Phase.LAUNCHED:
                world.run(secret=record.secret_name)


def reasons(world: JobWorld) -> set[str]:
    return {reason for reason, _ in world.events()}


def test_an_ingress_that_became_wrong_keeps_its_certificate_and_its_owner_is_told(swept: JobWorld) -> None:
    """The fake CA's certificates live for a day."""
    first = issue_one(swept)
    wrong = ingress(annotations={v.KEY_ALGORITHM: "dsa"})
    swept.api.add(INGRESSES, "shop", wrong)
    live_through(swept, 26)
    assert swept.record().phase is Phase.WAITING
    assert orders(swept) == 1
    assert {"CertificateFailed", "CertificateExpiring"} <= reasons(swept)
    assert any("key-algorithm" in note for _, note in swept.events())
    swept.api.add(INGRESSES, "shop", ingress())
    live_through(swept, 8)
    assert swept.record().phase is Phase.ISSUED
    assert swept.record().issued != first.issued


def test_a_renewal_does_not_leave_out_an_ingress_that_became_wrong(swept: JobWorld) -> None:
    issue_one(swept)
    swept.apply(ingress("second", hosts=(OTHER,)))
    swept.run()
    assert swept.record().issued is not None
    wrong = ingress("second", hosts=(OTHER,), annotations={v.KEY_ALGORITHM: "dsa"})
    swept.api.add(INGRESSES, "shop", wrong)
    live_through(swept, 24)
    issued = swept.record().issued
    assert issued is not None
    assert issued.hosts == (OTHER, HOST)
    assert swept.record().phase is Phase.WAITING


def test_a_host_of_another_namespace_stops_the_renewal_but_not_in_silence(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(OTHER, "elsewhere"))
    swept.api.add(
        INGRESSES, "elsewhere", ingress(namespace="elsewhere", hosts=(OTHER,), annotations={v.TLS_ACME: ""})
    )
    swept.api.add(INGRESSES, "shop", ingress(hosts=(HOST, OTHER)))
    live_through(swept, 24)
    assert orders(swept) == 1
    assert {"CertificateFailed", "CertificateExpiring"} <= reasons(swept)


def test_an_issuer_that_is_not_there_is_named(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(INGRESSES, "shop", ingress(annotations={v.ISSUER: "typo"}))
    live_through(swept, 24)
    assert swept.record().phase is Phase.WAITING
    assert any("typo" in note for _, note in swept.events())


def test_the_claim_of_an_ingress_that_came_back_during_the_pass_stays(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += HOUR
    swept.api.remove(INGRESSES, "shop", "web")
    claims = at_sweep.read_claims(swept.cluster)
    live = inventory.read_live(swept.cluster, SettingsCache(swept.cluster).issuers(), {}, claimed={HOST})
    swept.api.add(INGRESSES, "shop", ingress())
    assert HOST in named_hosts(ingress())
    holders = at_sweep.Holders(Options(), live.namers, swept.clock.read())
    at_sweep.tidy(swept.cluster, holders, at_sweep.Records(), claims, until=time.monotonic() + 30)
    assert holder(swept.cluster, HOST) == "shop"


def test_a_record_that_cannot_be_read_is_told_to_its_owner(swept: JobWorld) -> None:
    issue_one(swept)
    stored = swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.record("shop", "web-tls"))
    assert stored is not None
    swept.api.add(CONFIGMAPS, v.NAMESPACE, stored | {"data": {v.RECORD_KEY: '{"version": 99}'}})
    run(swept)
    assert jobs(swept) == 1
    assert ("CertificateFailed", True) in [(r, "delete ConfigMap shop.web-tls" in note) for r, note in swept.events()]


def test_ten_days_of_sweeps_cost_one_order_a_renewal(swept: JobWorld) -> None:
    """Certificates of a day, from a CA without limits: half of their life, then the next."""
    swept.set_issuer(limits={"orders": 0, "perExactSet": 0, "perRegisteredDomain": 0})
    issue_one(swept)
    live_through(swept, 10 * 24, every=3)
    issued = swept.record().issued
    assert issued is not None
    assert issued.not_after > swept.clock.read()
    assert 18 <= orders(swept) <= 23
    assert orders(swept) == jobs(swept)
