"""How much a pass may launch: its own bound, each namespace's, each issuer's; who goes first."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.limits import Ledger, PlannedOrder
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import CaLimits
from issuer_job.issuers.types import ISSUER_TYPES, SELF_SIGNED
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Renewal
from issuer_job.upkeep.domains import registered_domain
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.samples import NOW
from tests.worlds.sweep import (
    by_hand,
    issue_one,
    jobs,
    passes,
    run,
    secret_is_there,
    wait_for,
    write,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive


def miss(world: JobWorld, number: int, *, namespace: str = "shop", prefix: str = "h") -> None:
    """So many Ingresses that the webhook never saw, each with a host and Secret of its own."""
    for n in range(number):
        body = ingress(
            f"{prefix}{n}", namespace=namespace, secret=f"{prefix}{n}", hosts=(f"{prefix}{n}.{namespace}.dev",)
        )
        world.api.add(INGRESSES, namespace, body)


def phases(world: JobWorld, number: int, *, prefix: str = "h") -> list[Phase]:
    return sorted(world.record(f"{prefix}{n}").phase for n in range(number))


def held_events(world: JobWorld) -> list[str]:
    return [note for reason, note in world.events() if reason == "CertificateHeldBack"]


def test_a_bounded_number_of_launches_in_one_pass(swept: JobWorld) -> None:
    assert Options().launches_per_sweep == 50
    swept.set_options(launchesPerSweep=3)
    miss(swept, 5)
    run(swept)
    assert jobs(swept) == 3
    run(swept)
    assert jobs(swept) == 5


def test_what_cannot_be_launched_keeps_nobody_else_out(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=2)
    for number in range(5):
        swept.api.add(CONFIGMAPS, v.NAMESPACE, claim_body(f"h{number}.aaa.dev", "elsewhere"))
    miss(swept, 5, namespace="aaa")
    swept.api.add(INGRESSES, "shop", ingress())
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED


def test_each_namespace_in_turn(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=3)
    miss(swept, 5, namespace="aaa")
    miss(swept, 1, namespace="bbb")
    miss(swept, 1, namespace="ccc")
    run(swept)
    made = [job["metadata"]["labels"][v.RECORD_NAMESPACE] for job in swept.api.all(JOBS)]
    assert sorted(made) == ["aaa", "bbb", "ccc"]


def test_active_orders_of_a_namespace_are_bounded(swept: JobWorld) -> None:
    assert Options().active_orders_per_namespace == 200
    swept.set_options(activeOrdersPerNamespace=2)
    miss(swept, 4)
    miss(swept, 1, namespace="other")
    run(swept)
    run(swept)
    assert jobs(swept) == 3
    launched = [n for n in range(4) if _is_launched(swept, f"h{n}")]
    assert swept.run(secret=f"h{launched[0]}") is v.ExitCode.DONE
    run(swept)
    assert jobs(swept) == 4


def test_a_crashed_attempt_goes_on_although_its_namespace_has_its_share(swept: JobWorld) -> None:
    swept.set_options(activeOrdersPerNamespace=1)
    miss(swept, 1)
    run(swept)
    passes(swept, 4)
    assert swept.record("h0").attempt is not None
    assert transitions.attempt_of(swept.record("h0")).reason == LaunchReason.CRASHED
    assert jobs(swept) == 2


def test_what_is_held_back_waits_until_it_may_go_and_says_so(swept: JobWorld) -> None:
    swept.set_issuer(limits={"orders": 2})
    miss(swept, 3)
    run(swept)
    assert jobs(swept) == 2
    assert phases(swept, 3) == [Phase.LAUNCHED, Phase.LAUNCHED, Phase.WAITING]
    [held] = [swept.record(f"h{n}") for n in range(3) if swept.record(f"h{n}").phase is Phase.WAITING]
    assert held.retry is not None
    assert held.retry.not_before is not None
    assert (held.retry.problem.type, held.retry.failures) == (transitions.HELD_BACK, 0)
    assert secret_is_there(swept, held.secret_name)  # HTTPS works all the same
    assert writes_nothing(swept)
    for record in (swept.record(f"h{n}") for n in range(3)):
        if record.phase is Phase.LAUNCHED:
            assert swept.run(secret=record.secret_name) is v.ExitCode.DONE
    passes(swept, 12)
    assert jobs(swept) == 2
    passes(swept, 30, until=lambda: jobs(swept) == 3)
    assert jobs(swept) == 3
    assert swept.clock.ahead >= timedelta(hours=3)


def test_held_back_it_is_told_on_the_ingress_that_the_webhook_missed(swept: JobWorld) -> None:
    swept.set_issuer(limits={"orders": 1})
    miss(swept, 2)
    run(swept)
    [note] = held_events(swept)
    assert f"issuer {ISSUER}: 1 of at most 1 orders within 3 hours" in note
    assert "UTC" in note


def test_an_issuer_whose_type_has_no_limits_is_not_held_back(
    swept: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ISSUER_TYPES, "selfsigned", dataclasses.replace(SELF_SIGNED, fields=frozenset({"limits"})))
    swept.set_issuer(type="selfsigned", limits={"orders": 1})
    miss(swept, 2)
    run(swept)
    assert jobs(swept) == 2


def test_an_issuer_whose_limits_are_raised_goes_on_at_once(swept: JobWorld) -> None:
    swept.set_issuer(limits={"orders": 1})
    miss(swept, 2)
    run(swept)
    assert jobs(swept) == 1
    swept.set_issuer(limits={"orders": 10})
    run(swept)
    assert jobs(swept) == 2


def test_a_certificate_that_is_held_back_stays(swept: JobWorld) -> None:
    first = issue_one(swept)
    swept.set_issuer(limits={"orders": 1})
    swept.api.add(INGRESSES, "shop", ingress(hosts=(HOST, "new.certjob.dev")))
    run(swept)
    record = swept.record()
    assert (record.phase, record.state, record.issued) == (Phase.WAITING, "Issued", first.issued)
    assert record.intent.hosts == ("new.certjob.dev", HOST)
    assert writes_nothing(swept)


def test_who_comes_back_while_the_issuer_is_full_brings_no_former_host_along(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED
    swept.set_issuer(limits={"orders": 1})
    swept.api.add(INGRESSES, "shop", ingress("second", hosts=("new.certjob.dev",)))
    passes(swept, 1)
    record = swept.record()
    assert (record.phase, record.intent.hosts) == (Phase.WAITING, ("new.certjob.dev",))


def test_an_order_that_goes_on_is_no_new_one(swept: JobWorld) -> None:
    swept.apply(ingress())
    attempt = swept.pod()
    attempt.load()
    attempt.claim()
    attempt.advance(transitions.ordering, directory=swept.server, account="a")
    attempt.advance(
        transitions.authorizing, order_url=f"{swept.ca.base}/order/1", expires=swept.clock.read() + timedelta(days=7)
    )
    swept.set_issuer(limits={"orders": 1})
    passes(swept, 4)
    assert swept.record().phase is Phase.LAUNCHED
    assert jobs(swept) == 2


def test_what_is_refused_takes_nobodys_place_at_the_issuer(swept: JobWorld) -> None:
    """Rivals name a host that is another namespace's, over and over, to use up its limit of certificates."""
    swept.set_issuer(limits={"perExactSet": 2, "orders": 4})
    issue_one(swept)
    for number in range(6):
        rival = ingress(f"r{number}", namespace="aaa", secret=f"r{number}")
        swept.api.add(INGRESSES, "aaa", rival)
    stored = swept.record()
    assert stored.issued is not None
    write(swept, replace(stored, issued=replace(stored.issued, intent_hash="0123456789abcdef")))  # to be ordered anew
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert [note for note in held_events(swept) if "Secret web-tls" in note] == []


def test_a_renewal_is_exempt_only_at_the_same_ca_and_while_the_ca_suggests_it(swept: JobWorld) -> None:
    stored = issue_one(swept)
    assert stored.issued is not None
    swept.set_issuer(limits={"perExactSet": 1})
    swept.clock.ahead += timedelta(hours=17)
    now, hour = swept.clock.read(), timedelta(hours=1)
    over = Renewal(check_after=now + hour, at=now - hour, start=now - 2 * hour, end=now - hour)
    open_now = replace(over, end=now + hour)
    elsewhere = "https://other.certjob.dev/dir"
    for directory, renewal, phase in (
        (elsewhere, open_now, Phase.WAITING),
        (swept.server, over, Phase.WAITING),
        (swept.server, open_now, Phase.LAUNCHED),
    ):
        issued = replace(stored.issued, cert_id="aki.serial", directory=directory, renewal=renewal)
        write(swept, replace(stored, issued=issued, resource_version=swept.record().resource_version))
        run(swept)
        assert swept.record().phase is phase


def test_a_limit_that_is_full_lets_other_issuers_be(swept: JobWorld) -> None:
    swept.set_issuer(limits={"orders": 1})
    swept.set_issuer("second", default=False)
    miss(swept, 2)
    body = ingress(annotations={v.ISSUER: "second"})
    swept.api.add(INGRESSES, "shop", body)
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED


def test_urgent_renewals_then_missed_then_retries(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=1)
    issue_one(swept)
    swept.apply(ingress("retry", secret="retry", hosts=("retry.certjob.dev",)))
    swept.clock.ahead += timedelta(hours=22)
    wait_for(swept, wait=timedelta(hours=-1))
    wait_for(swept, "retry", wait=timedelta(hours=-1))
    miss(swept, 1)
    order = []
    for _ in range(3):
        run(swept)
        newest = max(swept.api.all(JOBS), key=lambda job: int(job["metadata"]["resourceVersion"]))
        order.append(newest["metadata"]["annotations"][v.RECORD])
    assert order == ["shop.web-tls", "shop.h0", "shop.retry"]


def test_the_word_for_a_limit_is_the_ledgers() -> None:
    ledger = Ledger(registered_domain)
    order = PlannedOrder("le", CaLimits(orders=1), ("a.dev",))
    ledger.count(order, NOW)
    held = ledger.allowed(None, order, NOW)
    assert held is not None
    assert held.problem.type == transitions.HELD_BACK


def _is_launched(world: JobWorld, secret: str) -> bool:
    found = world.api.stored(CONFIGMAPS, v.NAMESPACE, f"shop.{secret}")
    return found is not None and world.record(secret).phase is Phase.LAUNCHED


def test_renewals_of_the_same_hosts_do_not_count_for_their_domain(swept: JobWorld) -> None:
    """Let's Encrypt counts only new sets of hosts there."""
    swept.set_issuer(limits={"perRegisteredDomain": 2})
    for name in ("a", "b"):
        issue_one(swept, ingress(name, secret=f"{name}-tls", hosts=(f"{name}.certjob.dev",)), secret=f"{name}-tls")
    swept.api.add(INGRESSES, "shop", ingress("new", secret="new-tls", hosts=("new.certjob.dev",)))
    swept.clock.ahead += timedelta(hours=17)
    run(swept)
    assert {name: swept.record(f"{name}-tls").phase for name in ("a", "b", "new")} == {
        "a": Phase.LAUNCHED,
        "b": Phase.LAUNCHED,
        "new": Phase.WAITING,
    }


NO_LIMITS = {"orders": 0, "perRegisteredDomain": 0, "perExactSet": 0, "failedValidations": 0}


@pytest.mark.parametrize(
    ("ago", "most"),
    [(timedelta(days=365), 1), (timedelta(minutes=10), 2)],
    ids=["a window from before it was made", "one that begins since, again and again"],
)
def test_a_ca_that_suggests_to_renew_all_the_time_is_not_believed_of_what_is_young(
    swept: JobWorld, ago: timedelta, most: int
) -> None:
    """Whatever the limits: an order more at once at most, then one or two with each tenth of a life of 25 hours."""
    swept.set_issuer(limits=NO_LIMITS)
    issue_one(swept)
    counts = []
    for _ in range(56):
        swept.clock.ahead += timedelta(minutes=5)
        stored = swept.record()
        if stored.phase is Phase.ISSUED and stored.issued is not None:
            now, hour = swept.clock.read(), timedelta(hours=1)
            always = Renewal(check_after=now + hour, at=now - ago, start=now - ago, end=now + hour)
            write(swept, replace(stored, issued=replace(stored.issued, cert_id="a.b", renewal=always)))
        run(swept)
        if swept.record().phase is Phase.LAUNCHED:
            swept.run()
        counts.append(len(swept.ca.ordered))
    assert counts[27] == most
    assert counts[-1] <= 2 * most + 1


def test_what_the_ca_suggests_counts_for_no_limit_on_orders(swept: JobWorld) -> None:
    """Many short certificates at a CA with renewal information."""
    swept.set_issuer(limits={"orders": 1, "perExactSet": 1, "perRegisteredDomain": 1})
    issue_one(swept)
    for renewals in range(1, 4):
        stored = swept.record()
        assert stored.issued is not None
        swept.clock.ahead += timedelta(hours=14)
        now, hour = swept.clock.read(), timedelta(hours=1)
        window = Renewal(check_after=now + hour, at=now - hour, start=now - hour, end=now + hour)
        write(swept, replace(stored, issued=replace(stored.issued, cert_id="a.b", renewal=window)))
        run(swept)
        assert swept.run() is v.ExitCode.DONE
        assert len(swept.ca.ordered) == 1 + renewals


def test_a_certificate_that_ends_soon_is_not_held_back(swept: JobWorld) -> None:
    """The fake CA's live for a day and have no renewal information, and the limits are Let's Encrypt's."""
    issue_one(swept)
    for _ in range(10 * 12):
        swept.clock.ahead += timedelta(hours=2)
        run(swept)
        if swept.record().phase is Phase.LAUNCHED:
            assert swept.run() is v.ExitCode.DONE
        issued = swept.record().issued
        assert issued is not None
        assert issued.not_after > swept.clock.read()
    # Half a day each until the limit, then until little is left.
    assert 12 <= len(swept.ca.ordered) <= 16
    assert len(held_events(swept)) > 3


def test_a_certificate_that_its_owner_put_there_brings_nobody_past_the_limits(swept: JobWorld) -> None:
    """It ends as soon as he likes: another one each hour would be an order each hour, whatever is left for others."""
    swept.set_issuer(limits={"orders": 1})
    issue_one(swept)
    for _ in range(13):  # until the hourly look has found one that is good
        if not swept.record().issued.directory:  # type: ignore[union-attr]
            break
        by_hand(swept, life=timedelta(hours=2))
        passes(swept, 1)
    passes(swept, 22)
    record = swept.record()
    assert record.issued is not None
    assert (record.issued.directory, record.phase, jobs(swept)) == ("", Phase.WAITING, 1)
    assert held_events(swept)
