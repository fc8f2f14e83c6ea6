"""Ways to provoke more orders than the issuer's limits allow: counted at the CA, over admission, Jobs and sweeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.demand.ingress import wants, with_entry
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher, OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import from_config_map
from issuer_job.record.transitions import HELD_BACK
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.sweep import orders, passes

pytestmark = pytest.mark.exhaustive

MANY = 6
FAILED = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "wrong answer"}


@dataclass
class Site:
    """A cluster with two webhook pods, which take turns. `said` is what `kubectl apply` printed."""

    world: JobWorld

    def __post_init__(self) -> None:
        self.said: list[str] = []
        self.pods = [self._webhook(), self._webhook()]

    def _webhook(self) -> Launcher:
        settings = SettingsCache(self.world.cluster)
        return Launcher(self.world.cluster, settings, clock=self.world.clock.read, room=Room(settings))

    def apply(self, body: Json, *, run: bool = True) -> None:
        """Admission by the next webhook pod, storage, and the Job if there is one."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        new = self.world.api.stored(INGRESSES, namespace, name) is None
        webhook = self.pods[0]
        self.pods.reverse()
        wanted = wants(body, issuers=SettingsCache(self.world.cluster).issuers())
        body = body if wanted.added is None else with_entry(body, wanted.added)
        for entry in wanted.entries:
            outcome = webhook.launch(entry, namespace=namespace, deadline=time.monotonic() + 30, expect_new=new)
            self.said.append(outcome.warning or "")
            self.world.api.add(INGRESSES, namespace, body)
            if run and outcome.reason is OutcomeReason.LAUNCHED:
                self.world.run(secret=entry.secret_name, namespace=namespace)

    def delete(self, name: str = "web", secret: str = "web-tls", namespace: str = "shop") -> None:
        """The Ingress and its Secret, as with their namespace."""
        self.world.api.remove(INGRESSES, namespace, name)
        self.world.api.remove(SECRETS, namespace, secret)

    def records(self) -> list[Record]:
        found = self.world.api.all(CONFIGMAPS, v.NAMESPACE)
        return [from_config_map(one) for one in found if v.RECORD in one["metadata"].get("labels", {})]

    def run_jobs(self) -> None:
        """All that are launched, at the same time."""
        waiting = [record for record in self.records() if record.phase is Phase.LAUNCHED]
        pods: list[Attempt] = [self.world.pod(secret=r.secret_name, namespace=r.namespace) for r in waiting]
        with ThreadPoolExecutor(len(pods) or 1) as pool:
            list(pool.map(self.world.issue, pods))

    def sweeps(self, number: int = 2) -> None:
        """Passes, each with the Jobs that it launches."""
        for _ in range(number):
            passes(self.world, 1)
            self.run_jobs()


def own_secrets(site: Site) -> None:
    for number in range(MANY):
        site.apply(ingress(f"w{number}", secret=f"w{number}"))


def jobs_at_once(site: Site) -> None:
    """As if each had been admitted by a webhook pod of its own."""
    for number in range(MANY):
        site.world.apply(ingress(f"w{number}", secret=f"w{number}"))
    site.run_jobs()


def missed_by_the_webhook(site: Site) -> None:
    for number in range(MANY):
        site.world.api.add(INGRESSES, "shop", ingress(f"w{number}", secret=f"w{number}"))


def made_again_and_again(site: Site) -> None:
    """A namespace of previews: deleted, and made anew a little later."""
    for _ in range(MANY):
        site.apply(ingress())
        site.delete()
        site.sweeps(3)
    site.apply(ingress())


def secret_deleted(site: Site) -> None:
    site.apply(ingress())
    for _ in range(MANY):
        site.delete()
        site.apply(ingress())


def secret_renamed(site: Site) -> None:
    for number in range(MANY):
        site.apply(ingress(secret=f"w{number}"))


def keys_flip(site: Site) -> None:
    for number in range(MANY):
        algorithm = ("rsa-2048", "ecdsa-p256")[number % 2]
        site.apply(ingress(annotations={"certjob.io/key-algorithm": algorithm}))


def issuer_edited(site: Site) -> None:
    for number in range(MANY):
        site.world.set_issuer(limits={"perExactSet": 2}, email=f"ops{number}@certjob.dev")
        site.apply(ingress(f"w{number}", secret=f"w{number}"))
        site.sweeps(1)


def retry_asked(site: Site) -> None:
    for number in range(MANY):
        site.apply(ingress(f"w{number % 3}", secret=f"w{number % 3}", annotations={v.RETRY: str(number)}))


def many_hosts(site: Site) -> None:
    for number in range(MANY):
        site.apply(ingress(f"w{number}", secret=f"w{number}", hosts=(f"h{number}.certjob.dev",)))


def one_of_two_namespaces(site: Site) -> None:
    site.apply(ingress("o", secret="o", hosts=("o.dev",), namespace="other"))
    site.sweeps(1)
    many_hosts(site)


def many_namespaces(site: Site) -> None:
    for number in range(MANY):
        body = ingress("w", secret="w", hosts=(f"h{number}.dev",), namespace=f"n{number}")
        site.world.apply(body)
    site.run_jobs()


def failing_host(site: Site) -> None:
    """The same host under ever new names, with ever new others."""
    site.world.ca.failing[HOST] = FAILED
    for number in range(MANY):
        site.apply(ingress(f"w{number}", secret=f"w{number}", hosts=(HOST, f"h{number}.certjob.dev")))


SET = {"perExactSet": 2}
WAYS = [
    pytest.param(own_secrets, SET, id="Secrets of their own"),
    pytest.param(jobs_at_once, SET, id="Jobs at once"),
    pytest.param(missed_by_the_webhook, SET, id="missed by the webhook"),
    pytest.param(made_again_and_again, SET, id="namespace made anew"),
    pytest.param(secret_deleted, SET, id="Secret deleted"),
    pytest.param(secret_renamed, SET, id="Secret renamed"),
    pytest.param(keys_flip, SET, id="key algorithm flips"),
    pytest.param(issuer_edited, SET, id="issuer edited"),
    pytest.param(retry_asked, SET, id="retry"),
    pytest.param(many_hosts, {"orders": 2, "perNamespace": 0}, id="orders"),
    pytest.param(many_namespaces, {"orders": 2}, id="orders of many namespaces"),
    pytest.param(one_of_two_namespaces, {"orders": 5, "perNamespace": 2}, id="share"),
    pytest.param(many_hosts, {"perRegisteredDomain": 2}, id="domain"),
    pytest.param(failing_host, {"failedValidations": 2}, id="failing host"),
]


@pytest.mark.parametrize(("provoke", "limits"), WAYS)
def test_no_way_leads_beyond_the_limits(
    swept: JobWorld, provoke: Callable[[Site], None], limits: dict[str, int]
) -> None:
    most = 3 if provoke is one_of_two_namespaces else 2
    swept.set_issuer(limits=limits)
    site = Site(swept)
    provoke(site)
    site.sweeps()
    assert orders(swept) == most
    held = [r for r in site.records() if r.phase is Phase.WAITING and r.retry and r.retry.problem.type == HELD_BACK]
    assert held
    for record in held:
        assert swept.api.stored(SECRETS, record.namespace, record.secret_name) is not None, "HTTPS works all the same"
        assert record.retry is not None
        assert record.retry.not_before is not None
        assert swept.clock.read() < record.retry.not_before < swept.clock.read() + timedelta(days=7)
    told = [note for reason, note in swept.events() if reason == "CertificateHeldBack"]
    assert {note.split(":")[0].removeprefix("Secret ") for note in told} >= {r.secret_name for r in held}
    assert all("UTC" in note for note in told)


def bare(name: str) -> Json:
    body = ingress(name)
    del body["spec"]["tls"]
    return body


@pytest.mark.parametrize("at_once", [False, True])
def test_ingresses_that_want_the_same_share_one_secret_and_one_order(swept: JobWorld, at_once: bool) -> None:
    """One host split by path over six Ingresses without spec.tls, as charts do."""
    site = Site(swept)
    for number in range(MANY):
        site.apply(bare(f"w{number}"), run=not at_once)
    site.run_jobs()
    site.sweeps()
    assert orders(swept) == 1
    [record] = site.records()
    assert (record.phase, len(record.sources)) == (Phase.ISSUED, MANY)
    assert len(swept.api.all(SECRETS, "shop")) == 1


def test_hosts_that_come_and_go_are_one_order_more_than_the_most(swept: JobWorld) -> None:
    site, both = Site(swept), (HOST, "more.certjob.dev")
    for number in range(2 * MANY):
        site.apply(ingress(hosts=both[: 1 + number % 2]))
        site.sweeps(1)
    assert orders(swept) == 2
    record = swept.record()
    assert record.issued is not None
    assert (record.phase, record.issued.hosts, record.intent.hosts) == (
        Phase.ISSUED,
        tuple(sorted(both)),
        tuple(sorted(both)),
    )


def test_a_host_less_is_no_order_until_the_renewal_and_then_it_is_left_out(swept: JobWorld) -> None:
    site, both = Site(swept), ("more.certjob.dev", HOST)
    site.apply(ingress(hosts=both))
    site.apply(ingress())
    site.sweeps(13)
    record = swept.record()
    assert record.issued is not None
    assert (orders(swept), record.issued.hosts, record.intent.hosts) == (1, both, (HOST,))
    swept.clock.ahead += timedelta(hours=17)
    site.sweeps(1)
    record = swept.record()
    assert record.issued is not None
    assert (orders(swept), record.issued.hosts) == (2, (HOST,))


def test_a_host_less_that_its_namespace_loses_is_replaced_at_once(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    site, both = Site(swept), ("more.certjob.dev", HOST)
    site.apply(ingress(hosts=both))
    site.apply(ingress())
    site.sweeps(6)
    record = swept.record()
    assert record.issued is not None
    assert (orders(swept), record.issued.hosts) == (2, (HOST,))
    assert [one.forfeited for one in record.former] == [("more.certjob.dev",)]


@pytest.mark.parametrize("missed", [False, True])
def test_who_comes_back_to_a_good_certificate_needs_no_order_whatever_the_limits(
    swept: JobWorld, missed: bool
) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    site = Site(swept)
    site.apply(ingress())
    swept.api.remove(INGRESSES, "shop", "web")
    site.sweeps(4)
    assert swept.record().phase is Phase.RETIRED
    if missed:
        swept.api.add(INGRESSES, "shop", ingress())
        site.sweeps(1)
    else:
        site.apply(ingress())
    assert (swept.record().phase, orders(swept)) == (Phase.ISSUED, 1)
