"""Clusters before 1.36, where no policy shows what a Secret holds: the record and the Secret's version have to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from certs.chain import describe_chain
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.record import transitions
from issuer_job.record.record import Issued, Phase, Record, Renewal, Revoked
from issuer_job.tenant_secrets.access import Refusal, look_by_policy, look_by_version
from tests.fakes.api import status
from tests.fakes.ca import NewCa
from tests.worlds import samples
from tests.worlds.crash import run_until
from tests.worlds.job import JobWorld, ingress
from tests.worlds.sweep import (
    MINUTE,
    by_hand,
    delete_ingress,
    issue_one,
    jobs,
    orders,
    passes,
    run,
    secret_is_there,
    write,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive

HOUR = timedelta(hours=1)
DISAPPEARED = 11 * MINUTE


@pytest.fixture
def old(swept: JobWorld) -> JobWorld:
    """A cluster without certjob-look."""
    return old_world(swept)


def old_world(world: JobWorld) -> JobWorld:
    world.policies.look = False
    world.looker = look_by_version
    return world


def stored(world: JobWorld) -> Json:
    found = world.api.stored(SECRETS, "shop", "web-tls")
    assert found is not None
    return found


def touch(world: JobWorld, **fields: Any) -> None:
    """Somebody else writes the Secret."""
    world.api.add(SECRETS, "shop", stored(world) | fields)


def mark(world: JobWorld, **fields: Any) -> None:
    """Somebody else writes the Secret's metadata."""
    touch(world, metadata=stored(world)["metadata"] | fields)


def held_back(world: JobWorld) -> list[str]:
    return [note for reason, note in world.events() if reason == "CertificateHeldBack"]


def issued(record: Record) -> Issued:
    assert record.issued is not None
    return record.issued


def test_a_certificate_is_issued_over_the_placeholder_and_its_version_remembered(old: JobWorld) -> None:
    record = issue_one(old)
    metadata = old.secret()["metadata"]
    assert metadata["labels"][v.STATE] == "issued"
    assert (issued(record).secret_uid, issued(record).secret_version) == (
        metadata["uid"],
        metadata["resourceVersion"],
    )


def test_an_untouched_secret_is_what_the_record_says(old: JobWorld) -> None:
    issue_one(old)
    passes(old, 12)
    assert (jobs(old), held_back(old)) == (1, [])
    assert writes_nothing(old)


def test_an_untouched_secret_is_renewed_in_time(old: JobWorld) -> None:
    first = issue_one(old)
    old.clock.ahead += issued(first).lifetime * 0.7
    run(old)
    assert old.run() is v.ExitCode.DONE
    assert issued(old.record()).serial != issued(first).serial
    assert issued(old.record()).secret_version == stored(old)["metadata"]["resourceVersion"]
    assert orders(old) == 2


@pytest.mark.parametrize("data", [{"tls.crt": "", "tls.key": ""}, {}], ids=["damaged", "labelled only"])
def test_a_touched_secret_is_left_alone_and_its_owner_told_what_to_do(old: JobWorld, data: dict[str, str]) -> None:
    record = issue_one(old)
    touch(
        old, data=stored(old)["data"] | data, metadata=stored(old)["metadata"] | {"annotations": {"their/own": "1"}}
    )
    theirs = stored(old)
    passes(old, 24)
    assert (jobs(old), stored(old)) == (1, theirs)
    assert old.record() == record
    [note] = held_back(old)
    assert "changed by somebody else" in note
    assert "delete it" in note


def test_a_touched_secret_is_overwritten_when_its_renewal_is_due(old: JobWorld) -> None:
    first = issue_one(old)
    touch(old, data={"tls.crt": "", "tls.key": ""})
    old.clock.ahead += issued(first).lifetime * 0.7
    run(old)
    assert old.run() is v.ExitCode.DONE
    assert old.secret()["data"]["tls.crt"].startswith(b"-----BEGIN CERTIFICATE")
    assert orders(old) == 2
    assert held_back(old) == []


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_secret_that_is_gone_or_made_anew_is_issued_anew(old: JobWorld, made_anew: bool) -> None:
    issue_one(old)
    theirs = stored(old)
    old.cluster.delete(SECRETS, "shop", "web-tls")
    if made_anew:
        metadata = {"name": "web-tls", "labels": theirs["metadata"]["labels"]}
        old.api.add(SECRETS, "shop", theirs | {"metadata": metadata})
    passes(old, 12, until=lambda: jobs(old) > 1)
    assert old.run() is v.ExitCode.DONE
    assert orders(old) == 2
    passes(old, 12)
    assert (jobs(old), held_back(old)) == (2, [])


def test_the_placeholder_of_an_attempt_that_failed_is_not_taken_for_the_certificate(old: JobWorld) -> None:
    issue_one(old)
    old.cluster.delete(SECRETS, "shop", "web-tls")
    passes(old, 12, until=lambda: jobs(old) > 1)
    old.api.fail("PUT", "/secrets/web-tls", status(403, "Forbidden", "a webhook says no"))
    assert old.run() is v.ExitCode.LATER
    assert old.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    old.clock.ahead += HOUR
    run(old)
    assert old.run() is v.ExitCode.DONE
    assert old.secret()["metadata"]["labels"][v.STATE] == "issued"


def test_a_secret_that_is_not_certjobs_any_more_is_left_alone_until_its_renewal_is_due(old: JobWorld) -> None:
    first = issue_one(old)
    mark(old, labels={})
    theirs = stored(old)
    passes(old, 12)
    assert jobs(old) == 1
    old.clock.ahead += issued(first).lifetime * 0.7
    run(old)
    assert old.run() is v.ExitCode.PERMANENT
    assert (orders(old), stored(old)) == (1, theirs)


def test_a_good_certificate_that_was_handed_over_cannot_be_seen(old: JobWorld) -> None:
    issue_one(old)
    by_hand(old)
    handed_over = stored(old)
    delete_ingress(old)
    old.api.remove(CONFIGMAPS, v.NAMESPACE, old.record().name)
    old.clock.ahead += MINUTE
    issue_one(old)
    assert orders(old) == 2
    assert stored(old)["data"] != handed_over["data"]


@pytest.mark.parametrize("field", ["ownerReferences", "finalizers"])
def test_what_a_write_would_drop_keeps_certjob_away_until_it_is_removed(old: JobWorld, field: str) -> None:
    old.apply(ingress())
    mark(old, **{field: ["theirs"]})
    assert old.run() is v.ExitCode.PERMANENT
    assert orders(old) == 0
    retry = old.record().retry
    assert retry is not None
    assert retry.problem.type == Refusal.OWNED
    assert any("ownerReferences or finalizers" in note for _, note in old.events())
    passes(old, 2)
    assert jobs(old) == 1
    mark(old, **{field: []})
    run(old)
    assert old.run() is v.ExitCode.DONE


def test_an_ingress_that_comes_back_finds_its_certificate(old: JobWorld) -> None:
    first = issue_one(old)
    delete_ingress(old)
    old.clock.ahead += 2 * MINUTE
    run(old)
    assert old.record().phase is Phase.ORPHANED
    assert issue_one(old).issued == first.issued
    assert orders(old) == 1


def test_another_certificate_is_wanted_than_the_one_that_is_there(old: JobWorld) -> None:
    issue_one(old)
    old.clock.ahead += MINUTE
    second = issue_one(old, ingress(hosts=("two.certjob.dev",)))
    assert issued(second).hosts == ("two.certjob.dev",)
    assert orders(old) == 2


def test_a_renewal_that_is_due_only_because_sweeps_come_by_rarely(old: JobWorld) -> None:
    record = issue_one(old)
    late = issued(record).not_after - timedelta(minutes=30)
    renewal = Renewal(check_after=old.clock.read() + 40 * HOUR, at=late, start=late, end=late)
    write(old, replace(record, issued=replace(issued(record), renewal=renewal)))
    old.clock.ahead = issued(record).not_after - 3 * HOUR - old.clock.read()
    run(old, interval=6 * HOUR)
    assert old.run() is v.ExitCode.DONE
    assert orders(old) == 2


@pytest.mark.parametrize("renewal", [False, True])
def test_killed_around_the_write_of_the_secret_the_next_pod_makes_sure(
    new_ca: NewCa, tmp_path: Path, renewal: bool
) -> None:
    """The Secret may hold the new certificate, and the record does not say so yet."""
    length = run_until(to_be_issued(new_ca, tmp_path / "whole", renewal=renewal), 10**6)
    for kill_at in range(length - 6, length + 1):
        world = to_be_issued(new_ca, tmp_path / str(kill_at), renewal=renewal)
        run_until(world, kill_at)
        assert world.run() is v.ExitCode.DONE, kill_at
        assert orders(world) == 1 + renewal, kill_at
        metadata, record = world.secret()["metadata"], world.record()
        assert metadata["labels"][v.STATE] == "issued"
        assert issued(record).secret_version == metadata["resourceVersion"], kill_at
        assert describe_chain(world.secret()["data"]["tls.crt"]).serial == issued(record).serial, kill_at
        world.close()


def to_be_issued(new_ca: NewCa, root: Path, *, renewal: bool) -> JobWorld:
    """A Job that is to be run, for the first certificate or the second."""
    world = old_world(JobWorld(root, *new_ca()))
    if not renewal:
        world.apply(ingress())
        return world
    world.clock.ahead += issued(issue_one(world)).lifetime * 0.7
    world.relaunch()
    return world


def test_while_it_is_being_written_no_version_is_remembered() -> None:
    record = samples.record(Phase.FINALIZING, issued=samples.issued(secret_uid="u", secret_version="5"))
    now = transitions.installing(record, secret_uid="u", secret_version="5", now=samples.LATER)
    assert (issued(now).secret_uid, issued(now).secret_version) == ("", "")
    assert issued(now).serial == issued(record).serial


def test_what_nobody_wants_stays_in_its_secret(old: JobWorld) -> None:
    """It may be the placeholder, or what its owner put in its place."""
    old.apply(ingress(), stored=False)
    assert old.run() is v.ExitCode.LATER
    for _ in range(3):
        old.clock.ahead += DISAPPEARED
        run(old)
    assert old.record().phase is Phase.RETIRED
    assert secret_is_there(old)


def test_where_data_is_shown_the_version_is_remembered_too(swept: JobWorld) -> None:
    """So that an installation can go over to the one for older clusters."""
    record = issue_one(swept)
    assert issued(record).secret_version == stored(swept)["metadata"]["resourceVersion"]
    by_hand(swept)
    passes(swept, 12)
    assert issued(swept.record()).secret_version == stored(swept)["metadata"]["resourceVersion"]
    assert look_by_policy(swept.cluster, swept.record()).stored.tls_crt == swept.secret()["data"]["tls.crt"]


def test_what_was_revoked_does_not_stay_although_nobody_has_touched_it(old: JobWorld) -> None:
    held = issue_one(old)
    assert held.issued is not None
    mark = Revoked(serial=held.issued.serial, key_id=held.issued.key_id, not_after=held.issued.not_after)
    write(old, replace(held, revoked=(mark,)))
    old.relaunch()
    assert old.run() is v.ExitCode.DONE
    found = old.record().issued
    assert found is not None
    assert (found.serial != held.issued.serial, found.key_id != held.issued.key_id) == (True, True)
