"""Who may have which host: what webhook, Job and sweep do under each policy, and how one gets a host later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, Json
from issuer_job.hosts import claims, transfer
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.precedence import Claim
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.record.record import Phase, Problem
from tests.fakes.api import status
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.sweep import MINUTE, issue_one, jobs, orders, passes, run, writes_nothing

OLD = "2026-01-01T00:00:00Z"
WILDCARD = "*.certjob.dev"
LIST = {"hostPolicy": "allow-list", "allowedHosts": [{"namespaces": ["shop"], "suffixes": ["certjob.dev"]}]}


def put(world: JobWorld, host: str, namespace: str, *, checked: bool = True) -> None:
    """Another namespace's claim."""
    since = datetime(2026, 1, 1, tzinfo=UTC) if checked else None
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(host, namespace, checked=since))


def claim(world: JobWorld, host: str = HOST) -> Claim | None:
    return claims.claim_of(world.cluster, host)


def plain(namespace: str, *hosts: str, **metadata: str) -> Json:
    """An Ingress that does not opt in."""
    body = ingress(namespace=namespace, hosts=hosts or (HOST,), **metadata)
    body["metadata"]["annotations"] = {}
    return body


def make_old(world: JobWorld, host: str) -> None:
    """As if the claim had been made long ago."""
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(host))
    assert stored is not None
    stored["metadata"]["creationTimestamp"] = OLD
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(host))
    world.api.add(CONFIGMAPS, v.NAMESPACE, stored)


def self_signed(world: JobWorld) -> None:
    """An issuer that certifies wildcards."""
    metadata = {"name": "own", "labels": {v.ISSUER: "true"}}
    world.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": {v.ISSUER_KEY: "type: selfsigned\n"}})


def apply(world: JobWorld, namespace: str = "shop", host: str = HOST) -> LaunchOutcome:
    [outcome] = world.apply(ingress(namespace=namespace, hosts=(host,)))
    return outcome


def trouble(world: JobWorld, namespace: str = "shop") -> Problem:
    retry = world.record(namespace=namespace).retry
    assert retry is not None
    return retry.problem


def ingress_lists(world: JobWorld) -> int:
    """How often all Ingresses of the cluster were listed."""
    return sum(r.method == "GET" and r.path == INGRESSES.path() for r in world.api.requests)


# First claim: the launcher.


@pytest.mark.parametrize("checked", [True, False])
def test_a_host_below_another_namespaces_wildcard_is_not_launched(world: JobWorld, checked: bool) -> None:
    older = claim_body(WILDCARD, "elsewhere", checked=datetime(2026, 1, 1, tzinfo=UTC) if checked else None)
    older["metadata"]["creationTimestamp"] = OLD
    world.api.add(CONFIGMAPS, v.NAMESPACE, older)
    outcome = apply(world)
    assert outcome.reason is OutcomeReason.HOST_CLAIMED
    assert outcome.warning == f"{HOST} belongs to another namespace: no certificate"
    assert jobs(world) == 0


def test_a_wildcard_above_another_namespaces_host_is_not_launched(world: JobWorld) -> None:
    self_signed(world)
    put(world, HOST, "elsewhere")
    body = ingress(hosts=(WILDCARD,), annotations={v.ISSUER: "own"})
    assert [outcome.reason for outcome in world.apply(body)] == [OutcomeReason.HOST_CLAIMED]


def test_a_host_that_was_checked_is_launched_below_a_wildcard(world: JobWorld) -> None:
    put(world, WILDCARD, "elsewhere")
    put(world, HOST, "shop")
    assert apply(world).reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.DONE


# First claim: the Job.


def test_a_new_claim_is_checked_once(world: JobWorld) -> None:
    issue_one(world)
    first = claim(world)
    assert first is not None
    assert first.checked is not None
    assert ingress_lists(world) == 1
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert ingress_lists(world) == 1
    assert claim(world) == first


@pytest.mark.parametrize("theirs", [HOST, WILDCARD])
def test_a_host_that_somebody_elses_ingress_has_had_is_not_ordered(world: JobWorld, theirs: str) -> None:
    world.api.add(INGRESSES, "elsewhere", plain("elsewhere", theirs, creationTimestamp=OLD))
    assert apply(world).reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.PERMANENT
    assert (trouble(world).type, trouble(world).host) == ("hostClaimed", HOST)
    assert "elsewhere" not in trouble(world).detail
    again = world.apply(ingress())[0]
    assert (again.reason, again.warning) == ("Unchanged", f"{HOST} belongs to another namespace: no certificate")
    assert world.ca.requests == []
    assert claim(world) is None
    [note] = [note for reason, note in world.events() if reason == "CertificateFailed"]
    assert HOST in note
    assert "elsewhere" not in note


def test_a_host_of_which_nobody_can_tell_who_was_first_is_an_operators_to_give(
    swept: JobWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """An Ingress that is older and was changed: it may have named the host all along, or only to be in the way."""
    caplog.set_level("INFO")
    swept.api.add(INGRESSES, "elsewhere", plain("elsewhere", "other.dev", creationTimestamp=OLD))
    swept.api.add(INGRESSES, "elsewhere", plain("elsewhere", creationTimestamp=OLD))
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop"}})
    apply(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    assert (trouble(swept).type, trouble(swept).host) == ("hostContested", HOST)
    assert "elsewhere" not in trouble(swept).detail
    again = swept.apply(ingress())[0]
    assert again.warning == f"{HOST} is another namespace's too: no certificate until an operator decides"
    run(swept)
    assert [r.__dict__["fields"]["hosts contested"] for r in caplog.records if r.message == "swept"][-1] == 1
    assert given(swept, namespace="shop") is v.ExitCode.DONE
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    run(swept)
    assert "hosts contested" not in [r.__dict__["fields"] for r in caplog.records if r.message == "swept"][-1]


def test_its_own_older_ingress_gives_a_namespace_its_host(world: JobWorld) -> None:
    world.api.add(INGRESSES, "elsewhere", plain("elsewhere", creationTimestamp="2026-02-01T00:00:00Z"))
    world.api.add(INGRESSES, "shop", ingress(creationTimestamp=OLD))
    assert world.apply(ingress(), stored=False)[0].reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.DONE


def test_a_list_of_ingresses_that_expires_is_read_again(world: JobWorld) -> None:
    apply(world)
    world.api.fail("GET", r"/ingresses\?", status(410, "Expired", "too old"))
    assert world.run() is v.ExitCode.DONE


def test_of_two_jobs_for_a_wildcard_and_a_host_one_gets_it(world: JobWorld) -> None:
    self_signed(world)
    theirs = ingress(namespace="elsewhere", hosts=(WILDCARD,), annotations={v.ISSUER: "own"})
    assert apply(world).reason is OutcomeReason.LAUNCHED
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert world.apply(theirs)[0].reason is OutcomeReason.LAUNCHED
    make_old(world, WILDCARD)
    assert world.run() is v.ExitCode.PERMANENT
    assert world.run(namespace="elsewhere") is v.ExitCode.DONE
    assert claim(world) is None


# First claim: what is given up.


def test_an_ingress_that_was_refused_leaves_no_claim(world: JobWorld) -> None:
    world.apply(ingress(), stored=False)
    assert claim(world) is not None
    world.run()
    assert world.record().phase is Phase.UNCONFIRMED
    assert claim(world) is None


@pytest.mark.parametrize("other", [plain("shop", name="other"), None], ids=["another Ingress", "another certificate"])
def test_a_refused_ingress_takes_no_claim_from_its_neighbour(world: JobWorld, other: Json | None) -> None:
    if other is None:
        world.apply(ingress("other", secret="other-tls"), stored=False)
    else:
        world.api.add(INGRESSES, "shop", other)
    world.apply(ingress(), stored=False)
    world.run()
    assert world.record().phase is Phase.UNCONFIRMED
    assert claim(world) is not None


def test_a_refused_ingress_takes_no_claim_from_another_namespace(world: JobWorld) -> None:
    world.apply(ingress(), stored=False)
    put(world, HOST, "elsewhere", checked=False)
    world.run()
    found = claim(world)
    assert found is not None
    assert found.namespace == "elsewhere"


def test_without_an_ingress_nobody_is_kept_out_for_longer_than_the_grace(swept: JobWorld) -> None:
    put(swept, HOST, "elsewhere", checked=False)
    assert apply(swept).reason is OutcomeReason.HOST_CLAIMED
    assert passes(swept, 4, until=lambda: jobs(swept) == 1) <= 3
    assert swept.run() is v.ExitCode.DONE


# Coming back without the user's doing anything.


def test_an_ingress_that_is_made_anew_keeps_its_host(swept: JobWorld) -> None:
    """Deleted and applied again while somebody else waits for the host, with passes in between."""
    issue_one(swept)
    swept.clock.ahead += 20 * MINUTE
    assert apply(swept, "elsewhere").reason is OutcomeReason.HOST_CLAIMED
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 3)
    assert jobs(swept) == 1
    refused = apply(swept, "elsewhere")
    assert refused.reason is OutcomeReason.HOST_CLAIMED
    until = swept.clock.read() - 10 * MINUTE + timedelta(hours=24)
    assert refused.warning == f"{HOST} belongs to another namespace until {until:%d %b %H:%M} UTC: no certificate"
    assert apply(swept).reason is not OutcomeReason.HOST_CLAIMED
    passes(swept, 2)
    assert apply(swept, "elsewhere").warning == f"{HOST} belongs to another namespace: no certificate"


def test_a_job_of_an_ingress_that_is_gone_gives_up_no_right(world: JobWorld) -> None:
    issue_one(world)
    world.relaunch()
    world.api.remove(INGRESSES, "shop", "web")
    world.run()
    found = claim(world)
    assert found is not None
    assert found.checked is not None


def test_a_job_says_until_when_the_host_is_anothers_at_least(swept: JobWorld) -> None:
    apply(swept)
    put(swept, HOST, "elsewhere")
    run(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    until = f"at least until {swept.clock.read() + timedelta(hours=24):%Y-%m-%d %H:%M} UTC"
    assert trouble(swept).detail == f"another namespace has this host, {until}; an operator can transfer it"


def test_a_namespace_made_anew_is_refused_the_host_of_the_one_before(swept: JobWorld) -> None:
    issue_one(swept)
    made = (swept.clock.read() + timedelta(hours=2)).isoformat()
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "creationTimestamp": made}})
    swept.clock.ahead += timedelta(hours=3)
    swept.relaunch()
    assert swept.run() is v.ExitCode.PERMANENT
    assert trouble(swept).type == "hostClaimed"
    run(swept)
    assert orders(swept) == 1


def test_a_claim_that_was_never_checked_is_taken_anew_by_a_namespace_made_anew(world: JobWorld) -> None:
    made = (world.clock.read() - timedelta(hours=1)).isoformat()
    apply(world)
    before = claim(world)
    assert before is not None
    world.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "creationTimestamp": made}})
    make_old(world, HOST)
    assert world.run() is v.ExitCode.DONE
    after = claim(world)
    assert after is not None
    assert after.uid != before.uid


def test_a_right_that_lapses_is_written_into_the_record_of_who_had_it(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    issue_one(swept)
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 5, until=lambda: claim(swept) is None)
    assert claim(swept) is None
    left = swept.record().issued
    assert left is not None
    assert left.forfeited == (HOST,)
    assert [entry.event for entry in swept.record().history].count("host lost") == 1
    swept.clock.ahead += 30 * MINUTE
    run(swept)
    assert writes_nothing(swept)


def test_who_was_refused_at_admission_is_ordered_by_the_pass_that_frees_the_host(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    put(swept, HOST, "elsewhere")
    swept.api.add(INGRESSES, "elsewhere", plain("elsewhere", creationTimestamp="2100-01-01T00:00:00Z"))
    assert apply(swept).reason is OutcomeReason.HOST_CLAIMED
    passes(swept, 3)
    assert jobs(swept) == 0
    swept.api.remove(INGRESSES, "elsewhere", "web")
    passes(swept, 2)
    assert jobs(swept) == 0
    passes(swept, 2, until=lambda: jobs(swept) == 1)
    assert jobs(swept) == 1
    assert swept.run() is v.ExitCode.DONE


def test_whom_the_job_refused_is_ordered_when_the_older_ingress_is_gone(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "elsewhere", plain("elsewhere", creationTimestamp=OLD))
    apply(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    passes(swept, 3)
    assert (jobs(swept), swept.record().phase) == (1, Phase.FAILED)
    assert writes_nothing(swept)
    swept.api.remove(INGRESSES, "elsewhere", "web")
    passes(swept, 1)
    assert jobs(swept) == 2
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().phase is Phase.ISSUED


def test_whom_the_job_refused_is_ordered_when_the_claim_is_gone(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    apply(swept)
    put(swept, HOST, "elsewhere")
    make_old(swept, HOST)
    assert swept.run() is v.ExitCode.PERMANENT
    passes(swept, 4, until=lambda: jobs(swept) == 2)
    assert jobs(swept) == 2, "the holder has no Ingress"


# Transfer.


def given(world: JobWorld, host: str = HOST, namespace: str = "elsewhere") -> v.ExitCode:
    world.api.add(NAMESPACES, None, {"metadata": {"name": "elsewhere"}})
    return transfer.transfer_host(world.cluster, host, namespace, now=world.clock.read())


@pytest.mark.exhaustive
def test_a_transfer_from_end_to_end(swept: JobWorld) -> None:
    swept.set_issuer(limits={"orders": 0, "perExactSet": 0, "perRegisteredDomain": 0})
    issue_one(swept)
    swept.clock.ahead += MINUTE
    assert apply(swept, "elsewhere").reason is OutcomeReason.HOST_CLAIMED
    assert given(swept) is v.ExitCode.DONE
    run(swept)
    assert swept.record(namespace="elsewhere").phase is Phase.LAUNCHED
    assert swept.run(namespace="elsewhere") is v.ExitCode.DONE
    # The former holder's certificate is due, and again a day later; its Ingress is the older one.
    for _ in range(60):
        swept.clock.ahead += timedelta(hours=1)
        run(swept)
        for namespace in ("shop", "elsewhere"):
            if swept.record(namespace=namespace).phase is Phase.LAUNCHED:
                swept.run(namespace=namespace)
    assert (swept.record().phase, trouble(swept).type) == (Phase.FAILED, "hostClaimed")
    assert swept.record(namespace="elsewhere").phase is Phase.ISSUED
    renewed = swept.record(namespace="elsewhere").issued
    assert renewed is not None
    assert renewed.not_after > swept.clock.read()
    found = claim(swept)
    assert found is not None
    assert found.namespace == "elsewhere"


def test_a_transfer_stands_against_an_older_ingress_and_a_wildcard(world: JobWorld) -> None:
    world.api.add(INGRESSES, "shop", plain("shop", HOST, WILDCARD, creationTimestamp=OLD))
    put(world, WILDCARD, "shop")
    assert given(world) is v.ExitCode.DONE
    assert apply(world, "elsewhere").reason is OutcomeReason.LAUNCHED
    assert world.run(namespace="elsewhere") is v.ExitCode.DONE


@pytest.mark.parametrize(
    ("host", "namespace"),
    [("no host", "elsewhere"), ("1.2.3.4", "elsewhere"), (HOST, "nowhere"), (HOST, "certjob"), (HOST, "a.b")],
)
def test_what_cannot_be_transferred(
    world: JobWorld, host: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert given(world, host, namespace) is v.ExitCode.PERMANENT
    assert "not-transferred" in caplog.text
    assert claim(world, host) is None


@pytest.mark.parametrize("host", ["Shop.CertJob.dev.", WILDCARD, "internal"])
def test_a_host_is_transferred_as_it_is_claimed(world: JobWorld, host: str) -> None:
    assert given(world, host) is v.ExitCode.DONE
    assert claim(world, host.lower().removesuffix(".")) is not None


# The other policies.


def test_open_takes_no_claims(swept: JobWorld) -> None:
    swept.set_options(hostPolicy="open")
    before = ingress_lists(swept)
    for namespace in ("shop", "elsewhere"):
        assert apply(swept, namespace).reason is OutcomeReason.LAUNCHED
        assert swept.run(namespace=namespace) is v.ExitCode.DONE
    run(swept)
    assert claim(swept) is None
    assert ingress_lists(swept) == before + 1, "the sweep's own"


def test_open_lets_those_in_that_were_refused(swept: JobWorld) -> None:
    apply(swept)
    put(swept, HOST, "elsewhere")
    swept.api.add(INGRESSES, "elsewhere", plain("elsewhere"))
    assert swept.run() is v.ExitCode.PERMANENT
    run(swept)
    assert jobs(swept) == 1
    swept.set_options(hostPolicy="open")
    run(swept)
    assert jobs(swept) == 2
    assert swept.run() is v.ExitCode.DONE


def test_who_is_not_on_the_list_is_warned_and_gets_nothing(swept: JobWorld) -> None:
    swept.set_options(**LIST)
    outcome = apply(swept, "elsewhere")
    assert outcome.reason is OutcomeReason.HOST_NOT_LISTED
    assert outcome.warning == f"{HOST} is not allowed in this namespace: no certificate"
    swept.clock.ahead += MINUTE
    run(swept)
    assert jobs(swept) == 0
    [note] = [note for reason, note in swept.events() if reason == "CertificateFailed"]
    assert HOST in note
    assert apply(swept, "shop").reason is OutcomeReason.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    assert claim(swept) is None


def test_the_job_reads_the_list_too_and_an_edit_lets_it_try_again(swept: JobWorld) -> None:
    apply(swept, "elsewhere")
    swept.set_options(**LIST)
    assert swept.run(namespace="elsewhere") is v.ExitCode.PERMANENT
    assert (trouble(swept, "elsewhere").type, trouble(swept, "elsewhere").host) == ("hostNotAllowed", HOST)
    assert orders(swept) == 0
    run(swept)
    assert jobs(swept) == 1
    swept.set_options(hostPolicy="allow-list", allowedHosts=[{"namespaces": ["*"], "suffixes": [HOST]}])
    run(swept)
    assert jobs(swept) == 2
    assert swept.run(namespace="elsewhere") is v.ExitCode.DONE


def test_a_list_that_is_gone_lets_nobody_in(swept: JobWorld) -> None:
    swept.set_options(**LIST)
    apply(swept)
    assert swept.run() is v.ExitCode.DONE
    run(swept)
    swept.relaunch()
    swept.api.remove(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP)
    outcome = apply(swept, "elsewhere", "mine.certjob.dev")
    assert (outcome.reason, jobs(swept)) == (OutcomeReason.LATER, 2)
    assert "certjob-options is gone" in outcome.why
    assert swept.run() is v.ExitCode.LATER
    assert trouble(swept).type == "brokenOptions"
    assert "certjob-options is gone" in trouble(swept).detail
    swept.clock.ahead += MINUTE
    assert run(swept) is v.ExitCode.LATER
    assert orders(swept) == 1


def test_broken_options_stop_a_job_before_it_orders(world: JobWorld) -> None:
    apply(world)
    world.set_options(hostPolicy="closed")
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "brokenOptions"
    assert "hostPolicy" in trouble(world).detail
    assert orders(world) == 0
    world.set_options(hostPolicy="open")
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
