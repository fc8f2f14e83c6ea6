"""No two records ever hold one key: a pass that finds it says so, and has new keys made, once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from certs.keys import key_from_pem, key_id
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.record.record import Issued, Record
from tests.worlds.job import JobWorld, ingress
from tests.worlds.sweep import HOUR, issue_one, jobs, orders, passes, run, write, writes_nothing

pytestmark = pytest.mark.exhaustive

FIRST, SECOND = "web-tls", "other-tls"


def issued(world: JobWorld, secret: str) -> Issued:
    found = world.record(secret).issued
    assert found is not None
    return found


def two(world: JobWorld) -> JobWorld:
    """Two certificates for one host."""
    issue_one(world)
    issue_one(world, ingress("other", secret=SECOND), secret=SECOND)
    assert issued(world, FIRST).key_id != issued(world, SECOND).key_id
    return world


def copied(world: JobWorld) -> None:
    """The first one's certificate and key in the other's Secret."""
    source, target = (world.api.stored(SECRETS, "shop", name) for name in (FIRST, SECOND))
    assert source is not None
    assert target is not None
    world.api.add(SECRETS, "shop", target | {"data": source["data"]})


def stolen(world: JobWorld) -> None:
    """As if certjob itself had made one key serve both."""
    copied(world)
    record, secret = world.record(SECOND), world.secret(SECOND)["metadata"]
    theirs = replace(issued(world, FIRST), secret_uid=secret["uid"], secret_version=secret["resourceVersion"])
    write(world, replace(record, issued=theirs))


def told(world: JobWorld) -> list[str]:
    """What the Events about it say, and on which Secret."""
    return [note for reason, note in world.events() if reason == "CertificateKeyShared"]


def end(world: JobWorld) -> None:
    """What was launched, to its end."""
    for secret in (FIRST, SECOND):
        if world.record(secret).phase == "Launched":
            assert world.run(secret=secret) is v.ExitCode.DONE


def keys(world: JobWorld) -> list[str]:
    """As the Secrets have them."""
    return [key_id(key_from_pem(world.secret(name)["data"]["tls.key"])) for name in (FIRST, SECOND)]


def test_both_get_a_new_key_and_are_told(swept: JobWorld, caplog: pytest.LogCaptureFixture) -> None:
    stolen(two(swept))
    shared = issued(swept, FIRST).key_id
    with caplog.at_level(logging.INFO):
        run(swept)
    assert [swept.record(name).attempt.reason for name in (FIRST, SECOND)] == ["SharedKey"] * 2  # type: ignore[union-attr]
    lines = [record.__dict__.get("fields", {}) for record in caplog.records]
    assert sum(line.get("keys shared", 0) for line in lines) == 2
    assert {line["record"] for line in lines if line.get("key") == shared} == {"shop.web-tls", "shop.other-tls"}
    assert {note.partition(": ")[0] for note in told(swept)} == {f"Secret {SECOND}", f"Secret {FIRST}"}
    assert all(note.endswith("a certificate with a new key is ordered") for note in told(swept))
    end(swept)
    assert len({*keys(swept), shared}) == 3
    assert orders(swept) == 4
    passes(swept, 13)
    assert orders(swept) == 4
    assert writes_nothing(swept)


def test_who_has_a_copy_of_it_by_hand_keeps_that_and_is_told(swept: JobWorld) -> None:
    """The key that certjob made is replaced; so the copy is no one's but its holder's."""
    copied(two(swept))
    passes(swept, 14, until=lambda: swept.record(FIRST).phase == "Launched")  # when the turn of the copy has come
    end(swept)
    assert issued(swept, SECOND).directory == ""
    assert len(set(keys(swept))) == 2
    assert orders(swept) == 3
    assert {note.partition("; ")[2][:9] for note in told(swept)} == {"a certifi", "it stays,"}
    passes(swept, 13)
    assert orders(swept) == 3


def test_one_certificate_in_two_secrets_by_hand_costs_no_order(swept: JobWorld) -> None:
    two(swept)
    copied(swept)
    for name in (FIRST, SECOND):
        write(swept, replace(swept.record(name), issued=replace(issued(swept, FIRST), directory="", account="")))
    passes(swept, 13)
    assert orders(swept) == 2
    assert len(set(told(swept))) == 2


def test_who_copies_all_the_time_has_no_orders_made_all_the_time(swept: JobWorld) -> None:
    two(swept)
    for _ in range(40):
        copied(swept)
        passes(swept, 1)
        end(swept)
    assert orders(swept) == 3
    assert any("a new key was shared as well" in note for note in told(swept) if note.startswith(f"Secret {FIRST}:"))


# What a record says of a certificate, and what the certificate says.


def forge(world: JobWorld, **fields: object) -> Record:
    """Whoever may write records says something else of what was issued."""
    record = issue_one(world)
    assert record.issued is not None
    write(world, replace(record, issued=replace(record.issued, **fields)))
    return record


FORGED = [
    {"not_after": datetime(2099, 1, 1, tzinfo=UTC)},
    {"not_before": datetime(1999, 1, 1, tzinfo=UTC)},
    {"serial": "5"},
    {"key_id": "0" * 20},
]


@pytest.mark.parametrize("fields", FORGED, ids=[next(iter(f)) for f in FORGED])
def test_the_certificate_is_believed_and_nothing_is_ordered(swept: JobWorld, fields: dict[str, object]) -> None:
    truth = forge(swept, **fields).issued
    assert truth is not None
    passes(swept, 13)
    found = issued(swept, FIRST)
    assert (found.serial, found.key_id, found.not_before, found.not_after) == (
        truth.serial,
        truth.key_id,
        truth.not_before,
        truth.not_after,
    )
    assert found.directory == (truth.directory if "serial" not in fields else "")
    assert orders(swept) == 1


def test_a_certificate_that_shall_last_for_ever_is_renewed_in_time(swept: JobWorld) -> None:
    truth = forge(swept, not_after=datetime(2099, 1, 1, tzinfo=UTC)).issued
    assert truth is not None
    swept.clock.ahead += truth.lifetime * 0.7 - HOUR
    assert passes(swept, 30, until=lambda: jobs(swept) == 2) < 30
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_keys_that_are_said_to_be_one_are_looked_at_before_anything_is_ordered(swept: JobWorld) -> None:
    two(swept)
    for name in (FIRST, SECOND):
        write(swept, replace(swept.record(name), issued=replace(issued(swept, name), key_id="0" * 20)))
    passes(swept, 2)
    assert [issued(swept, name).key_id for name in (FIRST, SECOND)] == keys(swept)
    assert orders(swept) == 2


def test_the_job_believes_the_certificate_too(world: JobWorld) -> None:
    forge(world, not_after=datetime(2099, 1, 1, tzinfo=UTC))
    world.clock.ahead += timedelta(seconds=2)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert issued(world, FIRST).not_after.year < 2099
    assert len(world.ca.ordered) == 1
