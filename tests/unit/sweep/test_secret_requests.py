"""Certificates without an Ingress, as the sweep keeps, renews and ends them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from certs.chain import dns_names
from certs.placeholder import is_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase, SourceKind
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.request import (
    NAME,
    ask,
    asking,
    delete,
    edit,
    issue_asked,
    leaf,
    make_due,
    metadata,
)
from tests.worlds.revocation import issue_jobs
from tests.worlds.sweep import jobs, orders, passes, run, secret_is_there, writes_nothing

pytestmark = pytest.mark.exhaustive

OTHER = "db.certjob.dev"


def test_what_an_operator_has_to_put_right_is_written_down_and_tried_after_the_edit(swept: JobWorld) -> None:
    (outcome,) = ask(swept, asking(issuer="later"))
    assert outcome.reason is OutcomeReason.HELD_UP
    assert swept.record().phase is Phase.WAITING
    assert jobs(swept) == 0
    passes(swept, 2)
    assert orders(swept) == 0
    swept.set_issuer("later", default=False)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))


def test_a_host_of_another_namespace_is_written_down_and_tried_again(swept: JobWorld) -> None:
    claim = {"metadata": {"name": names.claim(HOST), "labels": {v.CLAIM: "true"}}}
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim | {"data": {"host": HOST, "namespace": "other"}})
    (outcome,) = ask(swept, asking())
    assert outcome.reason is OutcomeReason.HOST_CLAIMED
    record = swept.record()
    assert record.retry is not None
    assert (record.phase, record.retry.problem.type) == (Phase.WAITING, "hostClaimed")
    passes(swept, 3)
    assert jobs(swept) >= 1


def test_it_stays_wanted_although_nobody_can_list_it(swept: JobWorld) -> None:
    issue_asked(swept)
    passes(swept, 30)
    assert swept.record().phase is Phase.ISSUED
    assert writes_nothing(swept)
    assert (jobs(swept), orders(swept)) == (1, 1)
    assert swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST)) is not None


def test_it_is_looked_at_as_any_other(swept: JobWorld) -> None:
    issue_asked(swept)
    before = len(looks(swept))
    passes(swept, 3)
    assert len(looks(swept)) == before + 3


def looks(world: JobWorld) -> list[str]:
    return [r.path for r in world.api.requests if r.method == "PUT" and r.path.endswith(f"/secrets/{NAME}")]


def test_deleting_the_secret_ends_it_without_a_job(swept: JobWorld) -> None:
    swept.set_options(claimGrace="10m")
    issue_asked(swept)
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.ORPHANED)
    assert swept.record().phase is Phase.ORPHANED
    passes(swept, 4)
    assert swept.record().phase is Phase.RETIRED
    assert not secret_is_there(swept)
    assert len(issue_jobs(swept)) == 1
    assert swept.left_over() == []
    passes(swept, 3)
    assert swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.claim(HOST)) is None


@pytest.mark.parametrize("issued", [True, False])
def test_taking_the_label_away_ends_it_and_the_secret_stays(swept: JobWorld, issued: bool) -> None:
    ask(swept, asking())
    if issued:
        swept.run()
    edit(swept, labels={v.REQUEST: None})
    if not issued:
        swept.run()
    before = swept.secret()
    passes(swept, 20, until=lambda: swept.record().phase is Phase.RETIRED)
    assert swept.record().phase is Phase.RETIRED
    assert swept.secret() == before


def test_a_placeholder_of_its_owners_is_never_deleted(swept: JobWorld) -> None:
    ask(swept, asking(), stored=False)
    swept.run()
    assert swept.record().phase is Phase.UNCONFIRMED
    stored = asking(data={"tls.crt": "", "tls.key": ""})
    stored["metadata"]["labels"] |= {v.MANAGED: "true", v.STATE: "placeholder"}
    stored["metadata"]["labels"].pop(v.REQUEST)
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 4)
    assert swept.record().phase is Phase.RETIRED
    assert secret_is_there(swept)


def test_a_secret_that_was_stored_late_is_found_before_its_record_retires(swept: JobWorld) -> None:
    ask(swept, asking(), stored=False)
    swept.run()
    assert swept.record().phase is Phase.UNCONFIRMED
    stored = asking(data={"tls.crt": "", "tls.key": ""})
    stored["metadata"]["labels"] |= {v.MANAGED: "true", v.STATE: "placeholder"}
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 4, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))


def test_one_that_comes_back_in_time_is_taken_up_again(swept: JobWorld) -> None:
    issue_asked(swept)
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.ORPHANED)
    ask(swept, asking())
    assert swept.run() is v.ExitCode.DONE
    passes(swept, 5)
    assert swept.record().phase is Phase.ISSUED


def test_a_change_that_the_webhook_missed_is_found_by_a_look(swept: JobWorld) -> None:
    issue_asked(swept)
    edit(swept, hosts=f"{HOST} , {OTHER}")
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(swept))) == {HOST, OTHER}
    assert orders(swept) == 2


def test_damaged_data_is_repaired_in_place(swept: JobWorld) -> None:
    issue_asked(swept)
    before = metadata(swept)
    stored = swept.api.stored(SECRETS, "shop", NAME)
    assert stored is not None
    swept.api.add(SECRETS, "shop", stored | {"data": {"tls.crt": "eA==", "tls.key": ""}})
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(swept))
    after = metadata(swept)
    assert after["uid"] == before["uid"]
    assert after["labels"] == before["labels"]


def test_a_renewal_keeps_what_its_owner_wrote(swept: JobWorld) -> None:
    issue_asked(swept, asking(issuer=ISSUER, renew_before="30d", formats="ca.crt"))
    before, old = metadata(swept), leaf(swept)
    make_due(swept)
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    after = metadata(swept)
    assert leaf(swept).serial_number != old.serial_number
    assert after["labels"] == before["labels"]
    assert set(after["annotations"]) == set(before["annotations"])
    assert all(
        after["annotations"][key] == value for key, value in before["annotations"].items() if key != v.NOT_AFTER
    )


@pytest.mark.parametrize("missed", [False, True])
def test_one_that_must_not_be_older_than_a_time_is_renewed_once(swept: JobWorld, missed: bool) -> None:
    issue_asked(swept)
    old = leaf(swept)
    swept.clock.ahead += timedelta(hours=2)
    renew = f"{swept.clock.read():%Y-%m-%dT%H:%M:%SZ}"
    if missed:
        edit(swept, renew=renew)
        passes(swept, 2)
    else:
        (outcome,) = ask(swept, asking(renew=renew))
        assert outcome.reason is OutcomeReason.LAUNCHED
        assert leaf(swept).serial_number == old.serial_number
    assert swept.run() is v.ExitCode.DONE
    assert leaf(swept).serial_number != old.serial_number
    assert metadata(swept)["annotations"]["certjob.io/renew"] == renew
    passes(swept, 13)
    assert orders(swept) == 2
    assert writes_nothing(swept)


def test_a_renewal_of_a_deleted_secret_ends_it(swept: JobWorld) -> None:
    issue_asked(swept)
    make_due(swept)
    delete(swept)
    run(swept)
    assert swept.record().phase is Phase.ORPHANED
    assert jobs(swept) == 1


def test_with_an_ingress_left_its_secret_is_made_again_for_that(swept: JobWorld) -> None:
    issue_asked(swept)
    swept.clock.ahead += timedelta(seconds=5)
    swept.apply(ingress(hosts=(HOST,), secret=NAME))
    delete(swept)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert [source.kind for source in swept.record().sources] == [SourceKind.INGRESS]
    assert not is_placeholder(leaf(swept))


def test_with_an_ingress_left_the_hosts_of_the_label_that_is_gone_leave_after_the_grace(swept: JobWorld) -> None:
    issue_asked(swept, asking(OTHER))
    swept.clock.ahead += timedelta(seconds=5)
    swept.apply(ingress(hosts=(HOST,), secret=NAME))
    assert swept.run() is v.ExitCode.DONE
    edit(swept, labels={v.REQUEST: None})
    passes(swept, 16)
    assert (swept.record().phase, swept.record().intent.hosts) == (Phase.ISSUED, (HOST,))
    make_due(swept)
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(swept))) == {HOST}
