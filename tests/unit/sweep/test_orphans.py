"""Ingresses that go, move, come back, or share a Secret: what the sweep gives up, keeps, and orders."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, SECRETS, Json
from issuer_job.record.record import Phase
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.revocation import issue_jobs
from tests.worlds.sweep import (
    MINUTE,
    delete_ingress,
    issue_one,
    jobs,
    orders,
    passes,
    run,
    secret_is_there,
    wait_for,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive

OTHER = "other.certjob.dev"


def claimed(world: JobWorld, host: str = HOST) -> bool:
    return world.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(host)) is not None


def recreate(world: JobWorld, body: Json) -> None:
    """Admission of a CREATE, as the webhook does it, and storage."""
    world.apply(body, expect_new=True)


def test_an_ingress_that_is_gone_leaves_its_certificate_behind(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    issue_one(swept)
    delete_ingress(swept)
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED
    assert writes_nothing(swept)
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED  # ten minutes of grace
    passes(swept, 2)
    assert swept.record().phase is Phase.RETIRED
    assert secret_is_there(swept)
    assert not claimed(swept)
    assert swept.left_over() == []
    swept.clock.ahead += timedelta(days=6)
    run(swept)
    assert swept.record().phase is Phase.RETIRED
    assert writes_nothing(swept)
    swept.clock.ahead += timedelta(days=1)
    run(swept)
    assert swept.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls") is None
    assert secret_is_there(swept)
    assert (len(issue_jobs(swept)), orders(swept)) == (1, 1)


def test_an_ingress_that_goes_before_it_has_a_certificate_takes_its_placeholder_along(swept: JobWorld) -> None:
    swept.apply(ingress())
    wait_for(swept, wait=60 * MINUTE)
    delete_ingress(swept)
    passes(swept, 5)
    assert swept.record().phase is Phase.RETIRED
    assert not secret_is_there(swept)
    assert not claimed(swept)
    assert swept.left_over() == []


def test_an_ingress_that_was_never_stored(swept: JobWorld) -> None:
    swept.apply(ingress(), stored=False)
    assert swept.run() is v.ExitCode.LATER
    assert swept.record().phase is Phase.UNCONFIRMED
    passes(swept, 3)
    assert swept.record().phase is Phase.RETIRED
    assert not secret_is_there(swept)
    assert orders(swept) == 0


def test_an_ingress_that_is_stored_late(swept: JobWorld) -> None:
    swept.apply(ingress(), stored=False)
    assert swept.run() is v.ExitCode.LATER
    swept.api.add(INGRESSES, "shop", ingress())
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().phase is Phase.ISSUED


def test_an_ingress_that_opts_out_is_gone(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(INGRESSES, "shop", ingress(annotations={v.TLS_ACME: "false"}))
    passes(swept, 5)
    assert swept.record().phase is Phase.RETIRED
    assert secret_is_there(swept)
    assert claimed(swept)  # it still names the host, and no other namespace may take it


def test_a_namespace_that_opts_out_takes_all_its_ingresses_along(swept: JobWorld) -> None:
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    body = ingress()
    body["metadata"]["annotations"] = {}
    swept.api.add(INGRESSES, "shop", body)
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {}}})
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED


@pytest.mark.parametrize("what", ["issuer gone", "issuer broken", "unknown issuer", "bad annotation", "bad host"])
def test_an_ingress_with_something_wrong_is_not_gone(swept: JobWorld, what: str) -> None:
    issue_one(swept)
    if what == "issuer gone":
        swept.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    elif what == "issuer broken":
        swept.set_issuer(server="http://plain")
    else:
        hosts = ("*.certjob.dev",) if what == "bad host" else (HOST,)
        notes = {"unknown issuer": {v.ISSUER: "nowhere"}, "bad annotation": {v.KEY_ALGORITHM: "none"}}.get(what, {})
        swept.api.add(INGRESSES, "shop", ingress(hosts=hosts, annotations=notes))
    passes(swept, 5)
    assert swept.record().phase is Phase.ISSUED
    assert jobs(swept) == 1
    assert writes_nothing(swept)


def test_a_certificate_whose_issuer_is_broken_is_there_again_when_the_issuer_is(swept: JobWorld) -> None:
    issue_one(swept)
    swept.set_issuer(server="http://plain")
    swept.clock.ahead += timedelta(hours=17)
    run(swept)
    assert swept.record().phase is Phase.WAITING
    assert secret_is_there(swept)
    swept.set_issuer()
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_made_anew_within_the_grace_it_keeps_its_certificate(swept: JobWorld) -> None:
    first = issue_one(swept)
    delete_ingress(swept)
    passes(swept, 1)
    recreate(swept, ingress())
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 1
    assert swept.record().issued == first.issued
    passes(swept, 3)
    assert (swept.record().phase, orders(swept)) == (Phase.ISSUED, 1)


def test_made_anew_at_once_it_needs_nothing(swept: JobWorld) -> None:
    issue_one(swept)
    delete_ingress(swept)
    recreate(swept, ingress())
    assert jobs(swept) == 1
    passes(swept, 3)
    assert (swept.record().phase, jobs(swept)) == (Phase.ISSUED, 1)


def test_made_anew_after_it_was_retired_it_keeps_its_certificate_too(swept: JobWorld) -> None:
    issue_one(swept)
    delete_ingress(swept)
    passes(swept, 5)
    assert swept.record().phase is Phase.RETIRED
    recreate(swept, ingress())
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 1
    assert claimed(swept)


@pytest.mark.parametrize("retired", [False, True])
def test_made_anew_without_its_secret_it_gets_a_new_certificate(swept: JobWorld, retired: bool) -> None:
    issue_one(swept)
    delete_ingress(swept)
    swept.cluster.delete(SECRETS, "shop", "web-tls")
    passes(swept, 5 if retired else 0)
    recreate(swept, ingress())
    assert secret_is_there(swept)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    assert swept.secret()["metadata"]["labels"][v.STATE] == "issued"


def test_moved_to_another_secret(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(INGRESSES, "shop", ingress(secret="new-tls"))
    passes(swept, 1)
    assert swept.run(secret="new-tls") is v.ExitCode.DONE
    assert swept.record().phase is Phase.ORPHANED
    passes(swept, 3)
    assert swept.record().phase is Phase.RETIRED
    assert swept.record("new-tls").phase is Phase.ISSUED
    assert secret_is_there(swept)
    assert claimed(swept)
    assert orders(swept) == 2


def test_moved_to_another_secret_and_back(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(INGRESSES, "shop", ingress(secret="new-tls"))
    passes(swept, 1)
    swept.api.add(INGRESSES, "shop", ingress())
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 1


def share(world: JobWorld, *, hosts: tuple[str, ...] = (OTHER,)) -> None:
    """Two Ingresses on one Secret, issued."""
    world.apply(ingress(creationTimestamp="2026-01-01T00:00:00Z"))
    world.clock.ahead += timedelta(seconds=2)
    world.apply(ingress("second", hosts=hosts, creationTimestamp="2026-02-01T00:00:00Z"))
    assert world.run() is v.ExitCode.DONE


def test_of_two_ingresses_on_one_secret_one_goes_and_its_hosts_leave(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    share(swept)
    assert swept.record().intent.hosts == (OTHER, HOST)
    delete_ingress(swept, "second")
    passes(swept, 1)
    assert writes_nothing(swept)
    passes(swept, 1)
    assert swept.record().intent.hosts == (OTHER, HOST)  # ten minutes of grace
    passes(swept, 2)
    assert swept.record().intent.hosts == (HOST,)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    passes(swept, 2)
    assert writes_nothing(swept)
    assert not claimed(swept, OTHER)


def test_one_of_two_that_comes_back_in_time_changes_nothing(swept: JobWorld) -> None:
    share(swept)
    delete_ingress(swept, "second")
    passes(swept, 1)
    swept.api.add(INGRESSES, "shop", ingress("second", hosts=(OTHER,), creationTimestamp="2026-02-01T00:00:00Z"))
    passes(swept, 4)
    assert [source.gone_since for source in swept.record().sources] == [None, None]
    assert orders(swept) == 1
    assert writes_nothing(swept)


def test_the_older_one_goes_with_the_settings_that_it_decided(swept: JobWorld) -> None:
    swept.set_issuer("second", default=False)
    swept.apply(ingress(creationTimestamp="2026-01-01T00:00:00Z"))
    swept.clock.ahead += timedelta(seconds=2)
    younger = ingress("second", annotations={v.ISSUER: "second"}, creationTimestamp="2026-02-01T00:00:00Z")
    swept.apply(younger)
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().intent.settings.issuer == ISSUER
    delete_ingress(swept)
    passes(swept, 4)
    assert swept.record().intent.settings.issuer == "second"
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().phase is Phase.ISSUED


def test_one_of_two_with_the_same_hosts_goes_without_an_order(swept: JobWorld) -> None:
    share(swept, hosts=(HOST,))
    made = jobs(swept)
    delete_ingress(swept, "second")
    passes(swept, 4)
    assert [source.name for source in swept.record().sources] == ["web"]
    assert (jobs(swept), orders(swept)) == (made, 1)
    assert writes_nothing(swept)


def test_a_full_limit_is_no_reason_to_hold_back_what_orders_nothing(swept: JobWorld) -> None:
    share(swept, hosts=(HOST,))
    swept.set_issuer(limits={"orders": 1})
    delete_ingress(swept, "second")
    passes(swept, 4)
    assert [source.name for source in swept.record().sources] == ["web"]
    assert swept.record().phase is Phase.ISSUED


def test_one_that_goes_when_its_issuer_is_full_is_not_held_back(swept: JobWorld) -> None:
    share(swept)
    swept.set_issuer(limits={"orders": 1})
    delete_ingress(swept, "second")
    passes(swept, 4)
    record = swept.record()
    assert (record.phase, record.intent.hosts, orders(swept)) == (Phase.ISSUED, (HOST,), 1)
    assert writes_nothing(swept)


def test_both_go(swept: JobWorld) -> None:
    share(swept)
    delete_ingress(swept, "second")
    delete_ingress(swept, "web")
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED


def test_one_that_goes_back_to_what_failed_lately_goes_on_waiting(swept: JobWorld) -> None:
    swept.apply(ingress())
    wait_for(swept, wait=6 * 60 * MINUTE)
    swept.clock.ahead += timedelta(seconds=2)
    swept.apply(ingress("second", hosts=(OTHER,)))
    wait_for(swept, wait=6 * 60 * MINUTE)
    made = jobs(swept)
    delete_ingress(swept, "second")
    passes(swept, 4)
    record = swept.record()
    assert (record.phase, record.intent.hosts, jobs(swept)) == (Phase.WAITING, (HOST,), made)
    assert writes_nothing(swept)


def test_generated_names_take_the_place_of_the_hint(swept: JobWorld) -> None:
    body = ingress("")
    del body["metadata"]["name"]
    body["metadata"]["generateName"] = "web-"
    swept.apply(body, stored=False)
    wait_for(swept, wait=6 * 60 * MINUTE)
    swept.api.add(INGRESSES, "shop", ingress("web-x7x2p", generateName="web-"))
    passes(swept, 5)
    assert [source.name for source in swept.record().sources] == ["web-x7x2p"]
    assert jobs(swept) == 1
    assert writes_nothing(swept)


def test_a_namespace_that_stays_while_it_is_being_deleted_has_fewer_and_fewer_jobs(swept: JobWorld) -> None:
    swept.policies.terminating.add("shop")
    swept.apply(ingress())
    swept.run()
    for _ in range(24):  # two hours
        passes(swept, 1)
        if swept.record().phase is Phase.LAUNCHED:
            swept.run()
    assert 2 < jobs(swept) < 10
    assert orders(swept) == 0
    swept.policies.terminating.clear()
    assert passes(swept, 24, until=lambda: swept.record().phase is Phase.LAUNCHED) < 24
    assert swept.run() is v.ExitCode.DONE


def test_a_younger_ingress_that_only_its_own_issuer_serves_shares_the_certificate(swept: JobWorld) -> None:
    """Of several Ingresses on one Secret the oldest decides the issuer; the sweep and the Job agree on the hosts."""
    swept.set_issuer(ISSUER, ingressClasses=["traefik"])
    swept.set_issuer("second", default=False)
    issue_one(swept)
    young = ingress("young", hosts=(OTHER,), annotations={v.ISSUER: "second"})
    young["spec"]["ingressClassName"] = "nginx"
    swept.apply(young)
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().intent.hosts == (OTHER, HOST)
    passes(swept, 1)
    assert (jobs(swept), orders(swept)) == (2, 2)
    assert writes_nothing(swept)
