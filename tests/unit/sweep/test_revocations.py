"""Certificates that outlive the right to a host are revoked, once; what cannot be is said, and comes to an end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from certs.keys import key_to_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, INGRESSES, NAMESPACES, SECRETS
from issuer_job.hosts import claims
from issuer_job.hosts.at_sweep import Holders
from issuer_job.hosts.precedence import Namers
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.record.record import Issued, Phase
from issuer_job.upkeep.revocations import Outcome
from issuer_job.upkeep.revoking import Attending
from tests.fakes.acme import Reply
from tests.fakes.api import status
from tests.fakes.certs_ca import new_key
from tests.worlds.check import check_jobs
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.revocation import issued, pass_by, revocations, run_check_jobs, told
from tests.worlds.sweep import change, delete_ingress, issue_one, run, write

pytestmark = pytest.mark.exhaustive

HOUR = timedelta(hours=1)
CESSATION = 5


@pytest.fixture
def certified(swept: JobWorld) -> JobWorld:
    """With a certificate, good for 90 days, and a short grace."""
    swept.set_options(claimGrace="10m")
    issue_one(swept)
    lives_long(swept)
    return swept


def lives_long(world: JobWorld) -> None:
    end = issued(world).not_before + timedelta(days=90)
    write(world, replace(world.record(), issued=replace(issued(world), not_after=end)))


def give_away(world: JobWorld, host: str = HOST, to: str = "team-b") -> None:
    """As `transfer-host` does."""
    claims.transfer(world.cluster, host, to, now=world.clock.read())


def test_the_former_holders_certificate_is_revoked_once_after_a_transfer(certified: JobWorld) -> None:
    first = issued(certified)
    certified.set_options(claimGrace="6d")  # team-b takes its time
    give_away(certified)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}
    assert {about["kind"] for about in told(certified, "CertificateRevoked")} == {"Secret", "Ingress", "ConfigMap"}
    for _ in range(4):
        pass_by(certified, after=HOUR)
    assert len([request for request in certified.ca.requests if request.path == "/revoke"]) == 1
    assert len(check_jobs(certified)) == 1
    assert certified.record().phase is Phase.FAILED  # the host is another's
    assert len(certified.ca.ordered) == 1


def test_and_after_a_lapse(certified: JobWorld) -> None:
    first = issued(certified)
    delete_ingress(certified)
    for _ in range(6):
        pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}
    assert certified.record().phase is Phase.RETIRED


def test_not_where_the_operator_does_not_want_it(certified: JobWorld) -> None:
    certified.set_options(claimGrace="10m", revokeLostHosts=False)
    give_away(certified)
    pass_by(certified)
    assert (certified.ca.revoked, revocations(certified), check_jobs(certified)) == ({}, [], [])
    certified.set_options(claimGrace="10m")
    pass_by(certified)
    assert list(certified.ca.revoked) == [issued(certified).serial]


def test_not_when_the_host_came_back_meanwhile(certified: JobWorld) -> None:
    certified.set_options(claimGrace="10m", revokeLostHosts=False)
    give_away(certified)
    pass_by(certified)
    assert issued(certified).forfeited == (HOST,)
    give_away(certified, to="shop")
    certified.set_options(claimGrace="10m")
    for _ in range(3):
        pass_by(certified)
    assert certified.ca.revoked == {}


def test_nor_when_it_came_back_and_its_claim_is_deleted_by_mistake_later(certified: JobWorld) -> None:
    certified.set_options(claimGrace="10m", revokeLostHosts=False)
    give_away(certified)
    pass_by(certified)
    give_away(certified, to="shop")
    certified.set_options(claimGrace="10m")
    pass_by(certified)
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    for _ in range(3):
        pass_by(certified)
    assert (certified.ca.revoked, revocations(certified)) == ({}, [])
    assert issued(certified).forfeited == ()


def test_nor_when_it_came_back_while_its_revocation_waited(certified: JobWorld) -> None:
    issuer = certified.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert issuer is not None
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    give_away(certified)
    pass_by(certified)
    assert [held.revocation.outcome for held in revocations(certified)] == [None]
    give_away(certified, to="shop")
    certified.api.add(CONFIGMAPS, v.NAMESPACE, issuer)
    for _ in range(3):
        pass_by(certified)
    assert (certified.ca.revoked, revocations(certified)) == ({}, [])


def test_but_when_it_came_to_a_namespace_that_was_made_anew(certified: JobWorld) -> None:
    """Whoever had the one before may still have the key."""
    first, issuer = issued(certified), certified.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert issuer is not None
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    give_away(certified)
    pass_by(certified)
    metadata = {"name": "shop", "creationTimestamp": certified.clock.read().isoformat(timespec="seconds")}
    certified.api.add(NAMESPACES, None, {"metadata": metadata})
    give_away(certified, to="shop")
    certified.api.add(CONFIGMAPS, v.NAMESPACE, issuer)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}


def test_nor_what_was_issued_in_a_time_of_another_policy(certified: JobWorld) -> None:
    """Everybody might have it then: that a transfer had taken it away earlier counts for nothing."""
    give_away(certified)
    certified.set_options(hostPolicy="open")
    certified.clock.ahead += timedelta(days=2)
    again = issued(certified).not_before + timedelta(days=2)
    write(certified, replace(certified.record(), issued=replace(issued(certified), at=again, not_before=again)))
    certified.set_options(claimGrace="10m")
    for _ in range(3):
        pass_by(certified)
    assert (certified.ca.revoked, revocations(certified)) == ({}, [])


def test_a_word_in_the_record_alone_revokes_nothing(certified: JobWorld) -> None:
    """Records can be written by more than the sweep."""
    write(certified, replace(certified.record(), issued=replace(issued(certified), forfeited=(HOST,))))
    for _ in range(3):
        pass_by(certified)
    assert (certified.ca.revoked, revocations(certified)) == ({}, [])


def test_a_certificate_from_before_the_one_in_the_secret(certified: JobWorld) -> None:
    """The Ingress went over to another host: the certificate for the former one is still good, whoever has it."""
    first = issued(certified)
    certified.apply(ingress(hosts=("new.certjob.dev",)))
    assert certified.run() is v.ExitCode.DONE
    lives_long(certified)
    second = issued(certified)
    for _ in range(6):
        pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}
    assert issued(certified).serial == second.serial
    assert certified.record().phase is Phase.ISSUED


def test_one_host_of_several(swept: JobWorld) -> None:
    """What names it is revoked; for the others another is made once nothing asks for that host any more."""
    hosts = (HOST, "b.certjob.dev")
    swept.set_options(claimGrace="10m")
    issue_one(swept, ingress(hosts=hosts))
    first = issued(swept)
    give_away(swept)
    pass_by(swept)
    assert swept.ca.revoked == {first.serial: CESSATION}
    swept.apply(ingress(hosts=("b.certjob.dev",)))
    assert swept.run() is v.ExitCode.DONE
    assert issued(swept).hosts == ("b.certjob.dev",)
    pass_by(swept)
    assert len(swept.ca.revoked) == 1


def edited_in_vain(world: JobWorld) -> Issued:
    """HOST is not wanted any more, but another certificate cannot be had just now; what it has for both."""
    issue_one(world, ingress(hosts=(HOST, "b.certjob.dev")))
    lives_long(world)
    world.ca.before = lambda request: Reply(503, raw=b"") if request.path.endswith("order") else None
    world.apply(ingress(hosts=("b.certjob.dev", "c.certjob.dev")))
    assert world.run() is v.ExitCode.LATER
    return issued(world)


def test_what_is_in_use_for_a_host_that_was_never_lost_is_revoked_when_another_is_there(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    first = edited_in_vain(swept)
    for _ in range(6):
        pass_by(swept)
    assert issued(swept).forfeited == (HOST,)
    assert (swept.ca.revoked, revocations(swept)) == ({}, [])
    swept.ca.before = lambda request: None
    for _ in range(3):
        pass_by(swept, after=HOUR)
    assert issued(swept).hosts == ("b.certjob.dev", "c.certjob.dev")
    assert swept.ca.revoked == {first.serial: CESSATION}


@pytest.mark.parametrize("claimed", [HOST, "*.certjob.dev"])
def test_but_at_once_when_somebody_else_has_the_host_that_was_lost(swept: JobWorld, claimed: str) -> None:
    swept.set_options(claimGrace="10m")
    first = edited_in_vain(swept)
    for _ in range(6):
        pass_by(swept)
    assert swept.ca.revoked == {}
    give_away(swept, claimed)
    pass_by(swept)
    assert swept.ca.revoked == {first.serial: CESSATION}


def test_a_copy_of_what_is_revoked_is_replaced_in_whatever_namespace(certified: JobWorld) -> None:
    """Ingress and Secret were moved by hand: the copy is good for the host until the right of the old place ends."""
    first = issued(certified)
    copy = certified.api.stored(SECRETS, "shop", "web-tls")
    assert copy is not None
    delete_ingress(certified)
    certified.api.add(SECRETS, "new", copy | {"metadata": {"name": "web-tls", "labels": copy["metadata"]["labels"]}})
    certified.api.add(INGRESSES, "new", ingress(namespace="new"))
    for _ in range(6):
        certified.clock.ahead += timedelta(minutes=5)
        run(certified)
        run_check_jobs(certified)
        made = certified.api.stored(CONFIGMAPS, v.NAMESPACE, "new.web-tls") is not None
        if made and certified.record(namespace="new").phase is Phase.LAUNCHED:
            certified.run(namespace="new")
    assert certified.ca.revoked == {first.serial: CESSATION}
    moved = certified.record(namespace="new")
    assert moved.phase is Phase.ISSUED
    assert moved.issued is not None
    assert moved.issued.key_id != first.key_id
    assert len(certified.ca.ordered) == 2


def test_its_secret_and_its_ingress_are_gone(certified: JobWorld) -> None:
    first = issued(certified)
    certified.api.remove(INGRESSES, "shop", "web")
    give_away(certified)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}


def test_an_issuer_that_is_gone_is_said_in_both_places_and_counted(
    certified: JobWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = issued(certified)
    issuer = certified.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
    assert issuer is not None
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    give_away(certified)
    pass_by(certified)
    about = told(certified, "CertificateNotRevoked")
    assert {(one["kind"], one["namespace"]) for one in about} >= {("Secret", "shop"), ("ConfigMap", v.NAMESPACE)}
    notes = [note for reason, note in certified.events() if reason == "CertificateNotRevoked"]
    assert all("there is no issuer any more with the CA that it is from" in note for note in notes)
    assert [r.fields["revocations without issuer"] for r in caplog.records if r.message == "swept"][-1] == 1  # type: ignore[attr-defined]
    pass_by(certified)
    assert len(told(certified, "CertificateNotRevoked")) == len(about)
    certified.api.add(CONFIGMAPS, v.NAMESPACE, issuer)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}


def test_what_cannot_be_revoked_for_a_week_is_given_up_and_not_asked_for_again(
    certified: JobWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    certified.ca.before = lambda request: Reply(503, raw=b"") if request.path == "/revoke" else None
    give_away(certified)
    for _ in range(9):
        certified.clock.ahead += timedelta(hours=23)
        run(certified)
        run_check_jobs(certified)
    assert [r for r in caplog.records if r.message == "swept" and "revocations given up" in r.fields]  # type: ignore[attr-defined]
    assert all(held.revocation.outcome is Outcome.GIVEN_UP for held in revocations(certified))
    asked = len(certified.ca.requests)
    for _ in range(3):
        certified.clock.ahead += timedelta(hours=23)
        run(certified)
        run_check_jobs(certified)
    assert "/revoke" not in [request.path for request in certified.ca.requests[asked:]]


def test_one_that_has_ended_needs_no_revocation(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    issue_one(swept)
    swept.clock.ahead += timedelta(days=2)
    give_away(swept)
    run(swept)
    assert revocations(swept) == []


def test_many_at_once_are_asked_for_in_turn_and_revoked_by_one_job(certified: JobWorld) -> None:
    secrets = [f"s{number}-tls" for number in range(6)]
    for number, secret in enumerate(secrets):
        issue_one(certified, ingress(f"i{number}", secret=secret, hosts=(f"h{number}.dev",)), secret=secret)
        give_away(certified, f"h{number}.dev")
    pass_by(certified)
    assert len(certified.ca.revoked) == len(secrets)
    assert len(check_jobs(certified)) == 1


# A restore from a backup that has made the namespaces anew.


def made_anew(world: JobWorld) -> None:
    """The namespace of the certificate, two hours later, with all that was in it."""
    now = world.clock.read()
    before = (now - 2 * HOUR).isoformat(timespec="seconds")
    claim = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert claim is not None
    claim["metadata"] |= {"creationTimestamp": before, "annotations": {v.CHECKED: before}}
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim)
    write(world, replace(world.record(), issued=replace(issued(world), at=now - 2 * HOUR)))
    metadata = {"name": "shop", "creationTimestamp": now.isoformat(timespec="seconds")}
    world.api.add(NAMESPACES, None, {"metadata": metadata})


def test_what_is_in_service_after_a_restore_stays_and_its_claim_is_confirmed(certified: JobWorld) -> None:
    first = issued(certified)
    made_anew(certified)
    for _ in range(6):
        pass_by(certified)
    assert (certified.ca.revoked, revocations(certified)) == ({}, [])
    assert issued(certified).serial == first.serial
    claim = claims.claim_of(certified.cluster, HOST)
    assert claim is not None
    assert (claim.namespace, claim.unnamed_since) == ("shop", None)
    assert claim.is_of("shop", certified.clock.read() - HOUR)
    [event] = [event for event in certified.api.all(EVENTS) if event["reason"] == "CertificateOfFormerNamespace"]
    assert (event["type"], event["regarding"]["name"]) == ("Warning", "web")
    assert f"transfer-host {HOST} shop" in event["note"]
    assert "CertificateForfeited" not in [reason for reason, _ in certified.events()]


def test_not_what_another_one_of_that_name_has_not(certified: JobWorld) -> None:
    """A certificate is public: without its key it says nothing of who has it."""
    first = issued(certified)
    made_anew(certified)
    change(certified, tls_key=key_to_pem(new_key()))
    for _ in range(6):
        pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}


def test_nor_when_somebody_else_claims_the_host_by_a_wildcard(certified: JobWorld) -> None:
    first = issued(certified)
    made_anew(certified)
    wildcard = f"*.{HOST.partition('.')[2]}"
    give_away(certified, wildcard)
    theirs = ingress("theirs", hosts=(wildcard,), namespace="team-b", annotations={})
    certified.api.add(INGRESSES, "team-b", theirs)
    for _ in range(6):
        pass_by(certified)
    assert certified.ca.revoked == {first.serial: CESSATION}


# Writes of others meanwhile, and writes that are refused.


def test_a_host_that_came_back_after_the_claims_were_read_is_no_reason(certified: JobWorld) -> None:
    write(certified, replace(certified.record(), issued=replace(issued(certified), forfeited=(HOST,))))
    claim = certified.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    assert claim is not None
    delete_ingress(certified)
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    held = {one.name for one in revocations(certified)}
    holders = Holders(Options(), Namers(), certified.clock.read(), whole=True)  # as read before
    certified.api.add(CONFIGMAPS, v.NAMESPACE, claim)
    records = {("shop", "web-tls"): certified.record()}
    Attending(certified.cluster, records, Issuers({}, {}), holders, True, certified.clock.read()).attend()
    assert {one.name for one in revocations(certified)} == held
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, names.claim(HOST))
    Attending(certified.cluster, records, Issuers({}, {}), holders, True, certified.clock.read()).attend()
    assert len(revocations(certified)) == 1


def test_a_write_that_is_refused_keeps_no_other_waiting(certified: JobWorld) -> None:
    """Of a record whose loss was taken back, as of a revocation that cannot be asked for."""
    issue_one(certified, ingress("other", hosts=("other.certjob.dev",), secret="other-tls"), secret="other-tls")
    other = issued(certified, "other-tls")
    give_away(certified, "other.certjob.dev")
    back = replace(certified.record(), issued=replace(issued(certified), forfeited=(HOST,)))
    write(certified, back)
    certified.api.fail("PUT", rf"/{names.record('shop', 'web-tls')}\?", status(403, "Forbidden", "no"), times=99)
    pass_by(certified)
    pass_by(certified)
    assert list(certified.ca.revoked) == [other.serial]
