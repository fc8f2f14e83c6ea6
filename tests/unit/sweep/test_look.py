"""What the sweep makes of the Secrets themselves: missing, damaged, due, put there by hand, not certjob's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from certs.validity import StoredCertificate, ValidityReason, judge_stored
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Json
from issuer_job.record.record import Phase, Renewal
from tests.fakes.api import status
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import (
    HOUR,
    MINUTE,
    by_hand,
    change,
    delete_ingress,
    issue_one,
    jobs,
    orders,
    own_certificate,
    passes,
    run,
    wait_for,
    write,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive


def test_a_certificate_is_renewed_in_time_and_with_a_new_key(swept: JobWorld) -> None:
    first = issue_one(swept)
    assert first.issued is not None
    swept.clock.ahead += first.issued.lifetime * 0.4
    run(swept)
    assert jobs(swept) == 1
    swept.clock.ahead += first.issued.lifetime * 0.3
    run(swept)
    assert jobs(swept) == 2
    assert swept.record().state == "Issued"
    assert swept.run() is v.ExitCode.DONE
    second = swept.record()
    assert second.issued is not None
    assert second.issued.serial != first.issued.serial
    assert second.issued.key_id != first.issued.key_id


def test_a_certificate_that_the_ca_revokes_is_renewed_now(swept: JobWorld) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    swept.clock.ahead += 3 * HOUR
    now = swept.clock.read()
    past = Renewal(check_after=now + 6 * HOUR, at=now - HOUR, start=now - 2 * HOUR, end=now - MINUTE)
    write(swept, replace(record, issued=replace(record.issued, renewal=past)))
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    passes(swept, 12)
    assert orders(swept) == 2


def test_a_sweep_that_comes_by_rarely_renews_while_it_can(swept: JobWorld) -> None:
    """The CA would have it renewed just before its end: with six hours between two passes that is too late."""
    record = issue_one(swept)
    assert record.issued is not None
    late = record.issued.not_after - timedelta(minutes=30)
    renewal = Renewal(check_after=swept.clock.read() + 40 * HOUR, at=late, start=late, end=late)
    write(swept, replace(record, issued=replace(record.issued, renewal=renewal)))
    swept.clock.ahead = record.issued.not_after - 3 * HOUR - swept.clock.read()
    run(swept, interval=6 * HOUR)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("what", ["deleted", "emptied", "other key", "fewer hosts", "garbage", "good"])
def test_within_an_hour_a_secret_that_is_gone_or_damaged_is_noticed(swept: JobWorld, what: str) -> None:
    first = issue_one(swept, ingress(hosts=(HOST, "two.certjob.dev")))
    if what == "deleted":
        swept.cluster.delete(SECRETS, "shop", "web-tls")
    elif what == "emptied":
        change(swept, tls_crt=b"", tls_key=b"")
    elif what == "garbage":
        change(swept, tls_crt=b"-----BEGIN CERTIFICATE-----\nnone\n")
    elif what == "other key":
        change(swept, tls_key=own_certificate((HOST,), swept.clock.read(), swept.clock.read() + HOUR)[1])
    elif what == "fewer hosts":
        by_hand(swept, hosts=(HOST,))
    passes(swept, 12, until=lambda: jobs(swept) > 1)
    assert jobs(swept) == (1 if what == "good" else 2)
    if what != "good":
        assert swept.run() is v.ExitCode.DONE
        assert swept.record().epoch > first.epoch
        assert swept.secret()["metadata"]["labels"][v.STATE] == "issued"
        passes(swept, 12)
        assert orders(swept) == 2


def test_each_pass_looks_at_each_secret_of_a_small_cluster(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.requests.clear()
    passes(swept, 3)
    assert len([r for r in swept.api.requests if r.method == "PUT" and r.path.endswith("/secrets/web-tls")]) == 3


def test_a_certificate_put_there_by_hand_stays_until_it_is_due(swept: JobWorld) -> None:
    first = issue_one(swept)
    by_hand(swept)
    passes(swept, 12)
    adopted = swept.record()
    assert adopted.issued is not None
    assert first.issued is not None
    assert (adopted.phase, jobs(swept)) == (Phase.ISSUED, 1)
    assert adopted.issued.serial != first.issued.serial
    assert (adopted.issued.directory, adopted.issued.cert_id) == ("", "")
    assert [entry.event for entry in adopted.history].count("adopted") == 1
    assert writes_nothing(swept)
    swept.clock.ahead += timedelta(days=22)
    run(swept)
    assert jobs(swept) == 2


def test_put_there_just_before_the_renewal_it_stays_too(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 20 * HOUR
    by_hand(swept)
    run(swept)
    assert (swept.record().phase, jobs(swept)) == (Phase.ISSUED, 1)
    assert writes_nothing(swept)


def test_put_there_but_due_itself_it_is_renewed(swept: JobWorld) -> None:
    issue_one(swept)
    by_hand(swept, life=timedelta(minutes=20))
    passes(swept, 12, until=lambda: jobs(swept) > 1)
    assert jobs(swept) == 2


def test_put_there_while_the_order_fails_it_ends_the_failure(swept: JobWorld) -> None:
    issue_one(swept)
    wait_for(swept)
    by_hand(swept)
    swept.clock.ahead += 5 * MINUTE
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert (swept.record().phase, swept.record().retry, orders(swept)) == (Phase.ISSUED, None, 1)
    issued = swept.record().issued
    assert issued is not None
    assert (issued.directory, issued.account) == ("", "")  # no CA is asked about it


def test_put_there_without_the_formats_they_are_added(swept: JobWorld) -> None:
    issue_one(swept, ingress(annotations={v.FORMATS: "tls-combined.pem"}))
    by_hand(swept)
    passes(swept, 12, until=lambda: jobs(swept) > 1)
    assert swept.run() is v.ExitCode.DONE
    data = swept.secret()["data"]
    assert data["tls-combined.pem"] == data["tls.key"] + data["tls.crt"]
    passes(swept, 13)
    assert (jobs(swept), orders(swept)) == (2, 1)


def test_a_secret_that_cannot_be_looked_at_is_left_alone(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.fail("PUT", "/secrets/web-tls", status(500, "InternalError"), times=99)
    passes(swept, 12)
    assert jobs(swept) == 1


def foreign(world: JobWorld) -> None:
    """The owner takes it out of certjob's hands."""
    stored = world.api.stored(SECRETS, "shop", "web-tls")
    assert stored is not None
    world.api.add(SECRETS, "shop", stored | {"metadata": stored["metadata"] | {"labels": {}}})


def test_a_secret_that_is_not_certjobs_any_more_is_left_alone_until_its_renewal_is_due(swept: JobWorld) -> None:
    issue_one(swept)
    foreign(swept)
    passes(swept, 12)
    assert jobs(swept) == 1
    swept.clock.ahead += 18 * HOUR
    run(swept)
    assert swept.run() is v.ExitCode.PERMANENT
    assert orders(swept) == 1
    assert [note for reason, note in swept.events() if "is not certjob's" in note]
    passes(swept, 3)
    assert jobs(swept) == 2


def test_a_foreign_secret_that_is_handed_over(swept: JobWorld) -> None:
    theirs: Json = {
        "metadata": {"name": "web-tls"},
        "type": v.TLS_SECRET_TYPE,
        "data": {"tls.crt": "", "tls.key": ""},
    }
    swept.api.add(SECRETS, "shop", theirs)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.PERMANENT
    passes(swept, 3)
    assert jobs(swept) == 1
    assert writes_nothing(swept)
    swept.api.add(SECRETS, "shop", theirs | {"metadata": {"name": "web-tls", "labels": {v.MANAGED: "true"}}})
    run(swept)
    assert swept.run() is v.ExitCode.DONE


def test_looks_leave_time_to_launch(swept: JobWorld) -> None:
    record = issue_one(swept)
    swept.api.requests.clear()
    run(swept, seconds=-1)
    assert record.phase is Phase.ISSUED
    assert not [r for r in swept.api.requests if r.method == "PUT" and "/secrets/" in r.path]


def expiring(world: JobWorld) -> list[str]:
    return sorted(note for reason, note in world.events() if reason == "CertificateExpiring")


def test_an_end_that_comes_near_while_the_renewal_fails_is_told_twice(swept: JobWorld) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    swept.clock.ahead += record.issued.lifetime * 0.6
    wait_for(swept, wait=timedelta(days=2))
    run(swept)
    assert expiring(swept) == []
    swept.clock.ahead += record.issued.lifetime * 0.1
    run(swept)
    run(swept)
    assert len(expiring(swept)) == 1
    assert "a third of its life left" in expiring(swept)[0]
    swept.clock.ahead += record.issued.lifetime * 0.22
    run(swept)
    assert len(expiring(swept)) == 2


def test_what_nobody_wants_may_end_in_silence(swept: JobWorld) -> None:
    record = issue_one(swept)
    wait_for(swept, wait=timedelta(days=2))
    delete_ingress(swept)
    passes(swept, 1)
    assert record.issued is not None
    swept.clock.ahead += record.issued.lifetime
    run(swept)
    assert expiring(swept) == []


def test_further_keys_in_the_data_stay_and_stand_in_the_way_of_nothing(swept: JobWorld) -> None:
    first = issue_one(swept).issued
    change(swept, dhparam_pem=b"parameters", tls_key=b"broken")
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert_good_secret(swept)
    assert swept.secret()["data"]["dhparam.pem"] == b"parameters"
    assert first is not None
    assert swept.record().issued.serial != first.serial  # type: ignore[union-attr]
    run(swept)  # what was ordered goes into the book
    assert writes_nothing(swept)


DAMAGE = [{"tls_crt": b"", "tls_key": b""}, {"tls_crt": b"garbage"}, {"tls_key": b"another"}]


@pytest.mark.parametrize("damage", DAMAGE, ids=["emptied", "garbage", "another key"])
def test_where_a_limit_holds_the_order_back_a_placeholder_stands_and_an_event_says_so(
    swept: JobWorld, damage: dict[str, bytes]
) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    issue_one(swept)
    change(swept, **damage)
    run(swept)
    assert swept.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert (
        judge_stored(
            StoredCertificate(swept.secret()["data"]["tls.crt"], swept.secret()["data"]["tls.key"]),
            hosts=(HOST,),
            now=swept.clock.read(),
        ).reason
        is ValidityReason.PLACEHOLDER
    )
    assert (swept.record().phase, jobs(swept)) == (Phase.WAITING, 1)
    said = [reason for reason, _ in swept.events()]
    assert (said.count("CertificateDamaged"), said.count("CertificateHeldBack")) == (1, 1)
    passes(swept, 3)
    assert [reason for reason, _ in swept.events()] == said
    assert writes_nothing(swept)


def test_a_job_puts_a_placeholder_there_before_it_orders(swept: JobWorld) -> None:
    issue_one(swept)
    change(swept, tls_crt=b"", tls_key=b"")
    swept.relaunch()
    assert swept.run() is v.ExitCode.DONE
    assert_good_secret(swept)
    assert [reason for reason, _ in swept.events()].count("CertificateDamaged") == 1


def test_an_expired_certificate_and_an_owners_go_on_serving_until_the_next_one_is_there(swept: JobWorld) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    issue_one(swept)
    by_hand(swept, life=-timedelta(minutes=1))
    before = swept.secret()["data"]
    run(swept)
    assert swept.secret()["data"] == before
    assert "CertificateDamaged" not in [reason for reason, _ in swept.events()]
