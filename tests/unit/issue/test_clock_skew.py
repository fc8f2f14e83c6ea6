"""A cluster whose clock is up to an hour off the CA's: no harm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from certs.chain import check_issued
from certs.errors import CertError
from certs.keys import key_to_pem
from certs.validity import StoredCertificate, ValidityReason, judge_stored
from issuer_job import vocabulary as v
from issuer_job.acme_client import new_account_key
from tests.fakes.acme import Reply, problem
from tests.fakes.certs_ca import DAY, NOW, FakeCA, new_key, pem
from tests.worlds.acme import NOW as CA_TIME
from tests.worlds.acme import acme_world
from tests.worlds.job import HOST, JobWorld, ingress

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("ahead", [-HOUR, -HOUR / 2, HOUR / 2, HOUR])
@pytest.mark.parametrize("lifetime", [6 * DAY, 90 * DAY])
def test_a_certificate_made_this_moment_by_the_cas_clock_is_good(ahead: timedelta, lifetime: timedelta) -> None:
    local = NOW + ahead
    key, root = new_key(), FakeCA.root(now=NOW - DAY)
    leaf = root.issue((HOST,), key, not_before=NOW, not_after=NOW + lifetime)
    chain = pem(leaf, root.certificate)
    assert check_issued(chain, key=key, hosts=(HOST,), now=local).not_before == NOW
    assert (
        judge_stored(StoredCertificate(chain, key_to_pem(key)), hosts=(HOST,), now=local).reason
        is ValidityReason.GOOD
    )


def test_a_certificate_for_later_than_that_is_none_for_now() -> None:
    key, root = new_key(), FakeCA.root(now=NOW - DAY)
    leaf = root.issue((HOST,), key, not_before=NOW + HOUR + timedelta(seconds=1), not_after=NOW + DAY)
    with pytest.raises(CertError, match="not valid before"):
        check_issued(pem(leaf, root.certificate), key=key, hosts=(HOST,), now=NOW)


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_a_whole_order_with_a_clock_that_is_off(world: JobWorld, ahead: timedelta) -> None:
    world.ca.clock = lambda: world.clock.read() - ahead
    # The fake CA's certificates are valid from an hour before the real time on: that is the CA's clock here.
    world.clock.ahead = ahead - HOUR + timedelta(seconds=5)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
def test_a_date_to_come_back_at_counts_from_the_cas_clock(world: JobWorld, ahead: timedelta) -> None:
    headers = {"Date": "Tue, 05 May 2026 10:00:00 GMT", "Retry-After": "Tue, 05 May 2026 13:00:00 GMT"}
    world.clock.ahead += ahead
    world.ca.script("/order", problem("rateLimited", status=429, headers=headers))
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    assert retry.not_before is not None
    assert timedelta(hours=2, minutes=59) < retry.not_before - world.clock.read() < timedelta(hours=3, minutes=46)


def test_the_server_time_is_that_of_the_last_answer() -> None:
    with acme_world() as world:
        client = world.connect(account_key_pem=new_account_key())
        assert client.server_time == CA_TIME
        world.fake.script(
            "/order",
            Reply(201, world.fake.order(), {"Date": "Tue, 05 May 2026 11:30:00 GMT", "Location": "/order/1"}),
        )
        client.new_order([HOST])
        assert client.server_time == CA_TIME + timedelta(minutes=90)


def test_a_ca_that_does_not_tell_the_time_has_none() -> None:
    with acme_world() as world:
        world.fake.script("/dir", Reply(200, world.fake.directory, {"Date": ""}))
        assert world.connect(account=False).server_time is None
