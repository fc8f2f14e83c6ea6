"""An account that the CA has deactivated: one new one, once a day."""

from __future__ import annotations

from base64 import b64decode
from threading import Event

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.launch.pace import FIRST
from issuer_job.record.record import Phase
from tests.e2e import world
from tests.e2e.api import NewNamespace
from tests.e2e.observe import cluster
from tests.e2e.site import ENDS_WITHIN, NewSite, client_of, trouble
from tests.e2e.sweeps import run_sweep
from tests.fakes.fault_rules import Answer, Change, Request

pytestmark = pytest.mark.usefixtures("no_sweeps")


def test_account_deactivated_with_several_jobs_authorizing_is_replaced_by_one_once_a_day(
    namespace: str, new_namespace: NewNamespace, new_site: NewSite
) -> None:
    """The first few of each namespace are at work at once; more would wait for these."""
    site = new_site(namespace, "account")
    site.apply()
    site.issued()
    released = Event()

    def hold(request: Request, answer: Answer) -> Answer:
        return answer if released.is_set() or answer.status != 200 else answer.with_json(status="pending")

    site.proxy.on("authorization", Change(hold), times=None)
    beside = [site.beside(new_namespace()) for _ in range(2)]
    jobs = [(one, f"job{number}") for one in beside for number in range(FIRST)]
    for one, name in jobs:
        one.apply(name)
    for one, name in jobs:
        world.wait_phase(one.namespace, f"{name}-tls", Phase.AUTHORIZING)
    with client_of(site) as client:
        assert client.deactivate_account().status == "deactivated"
    released.set()

    ended = [
        world.wait_phase(one.namespace, f"{name}-tls", Phase.WAITING, Phase.ISSUED, seconds=ENDS_WITHIN)
        for one, name in jobs
    ]
    later = [job for job, record in zip(jobs, ended, strict=True) if record.phase is Phase.WAITING]
    assert len(later) < len(jobs), "who made the new account goes on with it"
    assert {trouble(one.waits(name)).type for one, name in later} <= {"accountReplaced"}
    for one, name in later:
        one.make_due(name)
    run_sweep()
    records = [one.issued(name) for one, name in jobs]
    assert len(site.proxy.accounts) == 2
    assert {record.issued.account for record in records if record.issued} == {site.proxy.accounts[1]}
    for record in records:
        assert len([entry for entry in record.history if entry.event == "ordered"]) == 2
        assert len([entry for entry in record.history if entry.event == "order dropped"]) <= 1
    state = cluster().get(CONFIGMAPS, v.NAMESPACE, site.state)["data"]
    assert (state["accountNumber"], state["accountUrl"]) == ("2", site.proxy.accounts[1])
    found = cluster().get(SECRETS, v.NAMESPACE, names.account(site.issuer, site.proxy.directory, 2))
    assert found["immutable"] is True
    assert b64decode(found["data"][v.ACCOUNT_NUMBER]) == b"2"

    with client_of(site, number=2) as client:
        client.deactivate_account()
    site.apply("toosoon")
    told = trouble(site.waits("toosoon"))
    assert told.type == "accountDeactivated"
    assert f"remove accountReplacedAt and blockedUntil from ConfigMap {site.state}" in told.detail
    assert cluster().find(SECRETS, v.NAMESPACE, names.account(site.issuer, site.proxy.directory, 3)) is None
