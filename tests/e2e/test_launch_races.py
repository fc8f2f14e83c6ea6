"""Webhook, sweep and namespaces that launch the same at the same moment: one Job, one order. Real Jobs run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Response
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.launch.pace import FIRST
from tests.e2e import world
from tests.e2e.api import Api, Endpoint, NewNamespace, wait_for
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.checks import at_once
from tests.e2e.observe import cluster
from tests.e2e.wire import Wire

pytestmark = pytest.mark.usefixtures("no_sweeps")

QUOTA_CONFLICT = Response(
    409,
    {},
    b'{"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "Operation cannot be'
    b' fulfilled on resourcequotas \\"certjob\\": the object has been modified; please apply your changes to the'
    b' latest version and try again"}',
)


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


def test_recreated_while_the_old_job_is_not_collected_a_new_job_runs(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "again")
    one.store()
    before = world.wait_issued(namespace, one.secret, one.hosts)
    wait_for(lambda: bool(one.jobs()[0].get("status", {}).get("completionTime")), what="the Job is finished")
    cluster().delete(INGRESSES, namespace, one.name)
    cluster().delete(CONFIGMAPS, v.NAMESPACE, before.name)
    cluster().delete(SECRETS, namespace, one.secret)
    one.store()
    after = world.wait_issued(namespace, one.secret, one.hosts)
    assert after.uid != before.uid
    one.assert_issued()
    assert len(one.jobs()) == len(one.orders()) == 2


def test_recreated_within_one_second_a_new_job_runs(new_certificate: NewCertificates, namespace: str) -> None:
    """The clock gives the new record the epoch of the old one: their Jobs are called after the records' uids."""
    one = new_certificate(namespace, "second")
    one.store()
    before = world.wait_issued(namespace, one.secret, one.hosts)
    assert before.attempt is not None
    cluster().delete(INGRESSES, namespace, one.name)
    cluster().delete(CONFIGMAPS, v.NAMESPACE, before.name)
    moment = before.attempt.launched_at
    through = one.cluster("webhook")
    launcher = Launcher(through, SettingsCache(through), clock=lambda: moment)
    outcome = launcher.launch(one.entry(), namespace=namespace, deadline=time.monotonic() + 30)
    assert outcome.reason is OutcomeReason.LAUNCHED
    assert outcome.epoch == before.epoch
    one.store()
    world.wait_issued(namespace, one.secret, one.hosts)
    assert len(one.jobs()) == 2
    assert len(one.orders()) == 1  # the Secret was good already


def test_webhook_and_sweep_launch_a_new_entry_at_the_same_moment(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "crowd")
    entry = one.entry()
    launchers = [one.launcher(account, hold=False) for account in ("webhook", "webhook", "sweep")]

    def launch(number: int) -> LaunchOutcome:
        launcher = launchers[number % len(launchers)]
        deadline = time.monotonic() + 30
        return launcher.launch(entry, namespace=namespace, deadline=deadline, expect_new=number % 2 == 0)

    outcomes = at_once(*(lambda number=number: launch(number) for number in range(18)))
    reasons = [outcome.reason for outcome in outcomes]
    assert reasons.count(OutcomeReason.LAUNCHED) == 1, reasons
    assert reasons.count(OutcomeReason.UNCHANGED) == 17, reasons
    one.store()
    world.wait_issued(namespace, one.secret, one.hosts)
    assert len(one.jobs()) == len(one.orders()) == 1


def test_webhook_sweeps_and_a_retry_launch_a_waiting_record_at_the_same_moment(
    new_certificate: NewCertificates, namespace: str
) -> None:
    one = new_certificate(namespace, "retried")
    one.apply()
    hidden = cluster().get(CONFIGMAPS, v.NAMESPACE, one.issuer)
    labels = hidden["metadata"].pop("labels")
    hidden = cluster().update(CONFIGMAPS, v.NAMESPACE, hidden)
    assert one.run() is v.ExitCode.LATER
    hidden["metadata"]["labels"] = labels
    cluster().update(CONFIGMAPS, v.NAMESPACE, hidden)
    record, entry = one.record, one.entry()
    assert record.phase == "Waiting"
    webhook = one.launcher(hold=False)

    def launch() -> LaunchOutcome:
        return webhook.launch(entry, namespace=namespace, deadline=time.monotonic() + 30)

    results = at_once(*[lambda: one.new_epoch(record, hold=False)] * 8, *[launch] * 8)
    assert results[:8].count(True) == 1
    assert {outcome.reason for outcome in results[8:]} == {OutcomeReason.UNCHANGED}
    world.wait_issued(namespace, one.secret, one.hosts)
    assert len(one.jobs()) == len(one.orders()) == 1


def test_of_two_namespaces_that_claim_a_host_at_the_same_moment_one_gets_a_certificate(
    new_certificate: NewCertificates, new_namespace: NewNamespace
) -> None:
    mine, yours = new_namespace("mine"), new_namespace("yours")
    hosts = [f"wanted{number}.{mine}.test" for number in range(FIRST)]  # what has its turn later is written down
    pairs = [
        [new_certificate(namespace, f"claim{number}", [host]) for namespace in (mine, yours)]
        for number, host in enumerate(hosts)
    ]
    at_once(*(one.store for pair in pairs for one in pair))
    for pair in pairs:
        won = [one for one in pair if world.record(one.namespace, one.secret) is not None]
        assert len(won) == 1, pair[0].hosts
        world.wait_issued(won[0].namespace, won[0].secret, won[0].hosts)
        assert sorted(len(one.orders()) for one in pair) == [0, 1]


def test_of_two_namespaces_that_claim_the_same_hosts_one_gets_all(
    new_certificate: NewCertificates, new_namespace: NewNamespace
) -> None:
    mine, yours = new_namespace("mine"), new_namespace("yours")
    for number in range(12):
        hosts = [f"{letter}{number}.{mine}.test" for letter in "abc"]
        one = new_certificate(mine, f"all{number}", hosts)
        other = new_certificate(yours, f"all{number}", hosts[::-1], issuer=one.issuer)
        outcomes = at_once(one.launch, other.launch)
        reasons = sorted(outcome.reason for outcome in outcomes)
        assert reasons == [OutcomeReason.HOST_CLAIMED, OutcomeReason.LAUNCHED], number
        holders = {cluster().get(CONFIGMAPS, v.NAMESPACE, names.claim(host))["data"]["namespace"] for host in hosts}
        assert len(holders) == 1


@pytest.mark.parametrize("created", ["configmaps/claim-", "configmaps/{record}", "jobs/"])
def test_a_quota_that_others_change_at_the_same_moment_does_not_put_a_launch_off(
    new_certificate: NewCertificates, namespace: str, created: str
) -> None:
    """Its 409 has the reason Conflict: nothing of that name exists."""
    one = new_certificate(namespace, "quota")
    wire = Wire()
    wire.instead(f"^POST .*/certjob/{created.format(record=namespace)}", lambda: QUOTA_CONFLICT)
    outcome = one.launch(wire=wire)
    assert outcome.reason is OutcomeReason.LAUNCHED, outcome.warning
    assert len(one.held) == 1
