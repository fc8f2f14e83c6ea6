"""A live site whose `secretName` is renamed: the new Secret gets the old one's certificate, without an order."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.room import Room
from issuer_job.record.record import Phase, Revoked
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.reviews import decision_on, read, review
from tests.worlds.sweep import by_hand, change, issue_one, jobs, orders, passes, write, writes_nothing

SECOND = "second.certjob.dev"


def rename(world: JobWorld, *, old: Json | None = None, new: Json | None = None) -> str:
    """The webhook's part of it; from which Secret the new one shall take over."""
    new = new or ingress(secret="renamed")
    body = json.dumps(review(new, old=old or ingress(), operation="UPDATE")).encode()
    settings = SettingsCache(world.cluster)
    [entry] = decision_on(read(body), issuers=settings.issuers()).launch
    launcher = Launcher(world.cluster, settings, clock=world.clock.read, room=Room(settings))
    launcher.launch(entry, namespace="shop", deadline=time.monotonic() + 30)
    world.api.add(INGRESSES, "shop", new)
    return world.record("renamed").renamed_from


def test_the_new_secret_gets_the_certificate_of_the_old_one(swept: JobWorld) -> None:
    before = issue_one(swept)
    assert rename(swept) == "web-tls"
    assert swept.run(secret="renamed") is v.ExitCode.DONE
    assert_good_secret(swept, secret="renamed")
    assert swept.secret("renamed")["data"] == swept.secret()["data"]
    after = swept.record("renamed")
    assert (orders(swept), after.phase) == (1, Phase.ISSUED)
    assert before.issued is not None
    assert after.issued is not None
    said = replace(before.issued, secret_uid="", secret_version="")
    assert replace(after.issued, secret_uid="", secret_version="") == said


def test_it_stays_and_is_renewed_as_its_own(swept: JobWorld) -> None:
    """Neither is its key taken for one that somebody has copied, nor is it ordered anew as that of nobody's."""
    issue_one(swept)
    rename(swept)
    swept.run(secret="renamed")
    launched = jobs(swept)
    passes(swept, 4)
    assert (swept.record().phase, jobs(swept), writes_nothing(swept)) == (Phase.RETIRED, launched, True)
    assert not [reason for reason, _ in swept.events() if reason == "CertificateKeyShared"]
    swept.clock.ahead += timedelta(days=70)
    passes(swept, 1)
    assert swept.run(secret="renamed") is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("gone", [False, True])
def test_a_limit_holds_an_order_back_but_not_what_is_there(swept: JobWorld, gone: bool) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    issue_one(swept)
    if gone:
        swept.api.remove(SECRETS, "shop", "web-tls")
    rename(swept)
    swept.run(secret="renamed")
    assert (orders(swept), swept.record("renamed").phase) == (1, Phase.WAITING if gone else Phase.ISSUED)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ingress(), ingress(secret="renamed", hosts=(HOST, SECOND))),
        (ingress(), ingress(secret="renamed", annotations={v.KEY_ALGORITHM: "rsa-2048"})),
        (ingress(hosts=(SECOND,)), ingress(secret="renamed")),
    ],
    ids=["more hosts", "another key", "another's"],
)
def test_what_the_old_one_is_not_good_for_is_ordered(swept: JobWorld, old: Json, new: Json) -> None:
    issue_one(swept, old)
    rename(swept, old=old, new=new)
    assert swept.run(secret="renamed") is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("what", ["revoked", "forfeited", "by hand", "overwritten", "damaged", "gone"])
def test_what_must_not_go_on_is_not_taken_over(swept: JobWorld, what: str) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    if what == "forfeited":
        write(swept, replace(record, issued=replace(record.issued, forfeited=(HOST,))))
    elif what == "by hand":
        write(swept, replace(record, issued=replace(record.issued, directory="")))
    elif what == "overwritten":
        by_hand(swept)
    elif what == "damaged":
        change(swept, tls_key=b"none")
    elif what == "gone":
        swept.api.remove(SECRETS, "shop", "web-tls")
    else:
        revoked = Revoked(record.issued.serial, record.issued.key_id, record.issued.not_after)
        write(swept, replace(record, revoked=(revoked,)))
    assert rename(swept) == "web-tls"
    assert swept.run(secret="renamed") is v.ExitCode.DONE
    assert orders(swept) == 2
    assert_good_secret(swept, secret="renamed")


def test_a_secret_that_the_ingress_goes_on_naming_is_its_own(swept: JobWorld) -> None:
    both = ingress(secret="renamed")
    both["spec"]["tls"].append(ingress()["spec"]["tls"][0])
    body = json.dumps(review(both, old=ingress(), operation="UPDATE")).encode()
    issuers = SettingsCache(swept.cluster).issuers()
    assert [entry.renamed_from for entry in decision_on(read(body), issuers=issuers).launch] == ["", ""]
