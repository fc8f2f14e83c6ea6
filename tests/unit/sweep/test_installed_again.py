"""certjob was uninstalled with its namespace and installed again: who had a host keeps it, by its certificate."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, MUTATING_WEBHOOKS, NAMESPACES, SECRETS, Json
from issuer_job.record.record import Phase
from issuer_job.sweep.opening import keep_hosts
from issuer_job.tenant_secrets.access import look_by_version
from issuer_job.upkeep.bootstrap import bootstrap
from tests.fakes.api import status
from tests.fakes.certs_ca import DAY, FakeCA
from tests.worlds.hosts import holder
from tests.worlds.job import COMPANY, HOST, JobWorld, ingress
from tests.worlds.sweep import HOUR, issue_one, orders, own_certificate, passes, run

pytestmark = pytest.mark.exhaustive

SOMEBODY_ELSES = "2026-01-01T00:00:00Z"


def older(*, hosts: tuple[str, ...] = (HOST,), **metadata: Any) -> Json:
    """An Ingress of team-b that was there before the one of shop."""
    created: Json = {"creationTimestamp": SOMEBODY_ELSES, "generation": 1} | metadata
    return ingress("theirs", hosts=hosts, namespace="team-b", **created)


def install_again(world: JobWorld, *, later: timedelta = 3 * HOUR) -> None:
    """Only what is not in certjob's namespace is left, and the issuers that the operator applies again."""
    for made in world.api.all(CONFIGMAPS):
        if made["metadata"]["namespace"] == v.NAMESPACE and v.ISSUER not in made["metadata"].get("labels", {}):
            world.api.remove(CONFIGMAPS, v.NAMESPACE, made["metadata"]["name"])
    world.clock.ahead += later
    made_at = world.clock.read().isoformat(timespec="seconds")
    world.api.add(NAMESPACES, None, {"metadata": {"name": v.NAMESPACE, "creationTimestamp": made_at}})


def give(world: JobWorld, data: dict[str, str], *, namespace: str = "team-b", **notes: str) -> None:
    """The namespace's owner makes a Secret with the marks that certjob leaves."""
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    annotations = stored["metadata"]["annotations"] | notes
    metadata = {"name": "web-tls", "labels": stored["metadata"]["labels"], "annotations": annotations}
    world.api.add(SECRETS, namespace, {"metadata": metadata, "type": v.TLS_SECRET_TYPE, "data": data})


def pair(world: JobWorld, *, start: timedelta, signer: FakeCA = COMPANY) -> tuple[dict[str, str], str]:
    """A pair that begins `start` from now, as a Secret's data, and how certjob notes its end."""
    now = world.clock.read().replace(microsecond=0)
    crt, key = own_certificate((HOST,), now + start, now + 60 * DAY, signer=signer)
    data = {"tls.crt": b64encode(crt).decode(), "tls.key": b64encode(key).decode()}
    return data, f"{now + 60 * DAY:{v.NOTED_TIME}}"


def issued_before(world: JobWorld, **metadata: Any) -> None:
    """shop's certificate, of a CA that clients trust, as certjob has put it there 30 days ago."""
    issue_one(world, ingress(**metadata))
    data, end = pair(world, start=-30 * DAY)
    give(world, data, namespace="shop", **{v.NOT_AFTER: end})


def is_certain(world: JobWorld) -> bool:
    """Whether the host is somebody's against everybody else."""
    claim = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    return claim is not None and v.CHECKED in claim["metadata"].get("annotations", {})


def settled(world: JobWorld, namespace: str = "shop") -> None:
    """The Job of the namespace's certificate has run."""
    assert world.run(namespace=namespace) is v.ExitCode.DONE
    assert world.record(namespace=namespace).phase is Phase.ISSUED


def test_whoever_holds_the_certificate_keeps_the_host_though_others_have_an_older_ingress(swept: JobWorld) -> None:
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    run(swept)
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("shop", True)
    settled(swept)
    passes(swept, 3)
    assert (holder(swept.cluster, HOST), orders(swept)) == ("shop", 1)
    assert any("another namespace" in note for _, note in swept.events())
    assert swept.api.stored(SECRETS, "team-b", "web-tls") is None


def test_also_though_the_older_one_never_asked_for_a_certificate(swept: JobWorld) -> None:
    """What opts in is looked at first; of the other the Job knows, and the next pass."""
    issued_before(swept)
    theirs = older()
    theirs["metadata"]["annotations"] = {}
    swept.api.add(INGRESSES, "team-b", theirs)
    install_again(swept)
    run(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    passes(swept, 2)
    settled(swept)
    assert (holder(swept.cluster, HOST), orders(swept)) == ("shop", 1)


def test_also_against_a_wildcard_above_it(swept: JobWorld) -> None:
    issued_before(swept)
    swept.set_issuer("dns", default=False, type="selfsigned")
    theirs = older(hosts=(f"*.{HOST.partition('.')[2]}",), annotations={v.ISSUER: "dns"})
    swept.api.add(INGRESSES, "team-b", theirs)
    install_again(swept)
    run(swept)
    settled(swept)
    assert orders(swept) == 1


def shops(world: JobWorld) -> dict[str, str]:
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    data: dict[str, str] = stored["data"]
    return data


def copied_with_another_key(world: JobWorld) -> None:
    """Certificates are public; the key is one of his own."""
    data, _ = pair(world, start=-DAY)
    give(world, {**data, "tls.crt": shops(world)["tls.crt"]})
    world.api.remove(SECRETS, "shop", "web-tls")


def self_made(world: JobWorld) -> None:
    data, end = pair(world, start=-DAY, signer=FakeCA.root("mine"))
    give(world, data, **{v.NOT_AFTER: end})
    world.api.remove(SECRETS, "shop", "web-tls")


def got_since(world: JobWorld) -> None:
    """From the CA, past certjob, after the installation: CAs let it begin an hour earlier."""
    data, end = pair(world, start=-timedelta(minutes=59))
    give(world, data, **{v.NOT_AFTER: end})
    world.api.remove(SECRETS, "shop", "web-tls")


def without_certjobs_notes(world: JobWorld) -> None:
    data, _ = pair(world, start=-DAY)
    give(world, data)
    world.api.remove(SECRETS, "shop", "web-tls")


def the_same_in_two(world: JobWorld) -> None:
    give(world, shops(world))


def test_of_whoever_has_it_alone_the_certificate_counts_whosever_ingress_is_older(swept: JobWorld) -> None:
    issued_before(swept, creationTimestamp=SOMEBODY_ELSES, generation=1)
    swept.api.add(INGRESSES, "team-b", older(creationTimestamp="2026-02-01T00:00:00Z"))
    install_again(swept)
    data, end = pair(swept, start=-timedelta(minutes=61))
    give(swept, data, **{v.NOT_AFTER: end})
    swept.api.remove(SECRETS, "shop", "web-tls")
    run(swept)
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("team-b", True)


def test_an_issuer_whose_certificates_anybody_can_sign_shows_nothing(swept: JobWorld) -> None:
    swept.set_issuer(type="selfsigned")
    issue_one(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    run(swept)
    assert not is_certain(swept)


@pytest.mark.parametrize(
    "gained", [copied_with_another_key, self_made, got_since, without_certjobs_notes, the_same_in_two]
)
def test_nothing_that_one_can_make_up_gains_a_host(swept: JobWorld, gained: Callable[[JobWorld], None]) -> None:
    """It is as without certificates: the Ingress of shop is the older one, and the Job of team-b finds it."""
    issued_before(swept, creationTimestamp=SOMEBODY_ELSES, generation=1)
    swept.api.add(INGRESSES, "team-b", older(creationTimestamp="2026-02-01T00:00:00Z"))
    install_again(swept)
    gained(swept)
    run(swept)
    assert not is_certain(swept)


def test_who_lost_the_host_to_another_does_not_get_it_back(swept: JobWorld) -> None:
    """Both still hold certificates: the newer one is that of who had it last."""
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    data, end = pair(swept, start=-50 * DAY)
    give(swept, data, **{v.NOT_AFTER: end})
    run(swept)
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("shop", True)


def test_a_certificate_that_is_due_is_still_one(swept: JobWorld) -> None:
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept, later=50 * DAY)
    run(swept)
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("shop", True)
    settled(swept)


def test_later_nothing_is_looked_at(swept: JobWorld) -> None:
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    swept.clock.ahead += 8 * DAY
    run(swept)
    assert not is_certain(swept)


def test_where_no_look_shows_data_it_is_as_without_certificates(swept: JobWorld) -> None:
    """Before Kubernetes 1.36."""
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    swept.looker = look_by_version
    run(swept)
    assert not is_certain(swept)


def unopened(world: JobWorld) -> Callable[[], bool]:
    """The webhook's configuration as the manifests have it; whether the webhook is sent anything."""
    configuration = world.api.stored(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    assert configuration is not None
    for entry in configuration["webhooks"]:
        del entry["rules"]
    world.api.add(MUTATING_WEBHOOKS, None, configuration)

    def is_open() -> bool:
        stored = world.api.stored(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        assert stored is not None
        return any(entry.get("rules") for entry in stored["webhooks"])

    return is_open


def opened_by_bootstrap(world: JobWorld, *, sleep: Callable[[float], None] = lambda seconds: None) -> None:
    keep = partial(keep_hosts, clock=world.clock.read, sleep=sleep, looker=world.looker)
    bootstrap(world.cluster, opening=partial(keep, world.cluster, deadline=time.monotonic() + 60))


@pytest.mark.parametrize("first", [opened_by_bootstrap, run])
def test_nothing_is_sent_to_the_webhook_before_it_is_known_whose_the_hosts_are(
    swept: JobWorld, first: Callable[[JobWorld], object]
) -> None:
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    is_open, known = unopened(swept), []
    swept.api.hooks["configmaps"] = lambda attempt: known.append(is_open()) if v.CHECKED in str(attempt.new) else None
    first(swept)
    assert known
    assert not any(known)
    assert is_open()
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("shop", True)
    [refused] = swept.apply(older())
    assert "another namespace" in (refused.warning or "")
    run(swept)
    settled(swept)
    assert orders(swept) == 1


def test_policies_that_were_just_applied_are_waited_for(swept: JobWorld) -> None:
    issued_before(swept)
    swept.api.add(INGRESSES, "team-b", older())
    install_again(swept)
    unopened(swept)
    swept.policies.in_force = False

    def waited(seconds: float) -> None:
        swept.policies.in_force = True

    opened_by_bootstrap(swept, sleep=waited)
    assert (holder(swept.cluster, HOST), is_certain(swept)) == ("shop", True)


@pytest.mark.parametrize("broken", ["ingresses", "namespaces", "options"])
def test_what_goes_wrong_then_keeps_the_webhook_from_nothing(swept: JobWorld, broken: str) -> None:
    issued_before(swept)
    install_again(swept)
    is_open = unopened(swept)
    if broken == "options":
        swept.set_options(hostPolicy="nonsense")
    else:
        swept.api.fail("GET", rf"/{broken}(\?|$)", status(500, "InternalError", "no"), times=99)
    opened_by_bootstrap(swept)
    assert is_open()
