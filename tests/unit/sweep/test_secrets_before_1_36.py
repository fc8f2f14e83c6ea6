"""Certificates without an Ingress where no policy shows a Secret's data: the webhook tells what the Secret says."""

from __future__ import annotations

from datetime import timedelta

import jsonpatch
import pytest

from certs.chain import dns_names
from certs.placeholder import is_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase
from issuer_job.tenant_secrets.access import Content, Refusal, SecretRefused, look_by_version
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.request import (
    ask,
    asking,
    before_1_36,
    create_refused,
    decided,
    delete,
    edit,
    issue_asked,
    leaf,
    make_due,
    metadata,
)
from tests.worlds.sweep import issue_one, jobs, orders, passes, run

pytestmark = pytest.mark.exhaustive

OTHER = "db.certjob.dev"


@pytest.fixture
def old(swept: JobWorld) -> JobWorld:
    return before_1_36(swept)


def test_a_look_shows_what_certjob_is_told_and_no_more(old: JobWorld) -> None:
    issue_asked(old, asking(renew_before="20d"))
    seen = look_by_version(old.cluster, old.record())
    assert seen.content is Content.UNTOUCHED
    assert seen.metadata["labels"] == {v.REQUEST: "true", v.MANAGED: "true", v.STATE: "issued"}
    notes = {v.HOSTS: HOST, "certjob.io/renew-before": "20d", v.NOT_AFTER: metadata(old)["annotations"][v.NOT_AFTER]}
    assert seen.metadata["annotations"] == notes | {v.LOOK: "seen"}
    assert seen.stored.tls_crt is None


def test_a_look_at_another_secret_needs_no_webhook(old: JobWorld) -> None:
    issue_one(old)
    seen = look_by_version(old.cluster, old.record())
    assert seen.content is Content.UNTOUCHED
    assert seen.metadata == {}


def test_a_look_that_the_webhook_does_not_answer_says_nothing(old: JobWorld) -> None:
    issue_asked(old)
    old.api.hooks["secrets"] = old.policies.secrets
    with pytest.raises(SecretRefused) as refused:
        look_by_version(old.cluster, old.record())
    assert refused.value.reason is Refusal.NOT_IN_FORCE


def test_an_issuer_that_is_not_for_the_namespace_never_issues(old: JobWorld) -> None:
    old.set_issuer("corp", default=False, allowedNamespaces=["platform"])
    (outcome,) = ask(old, asking("admin.corp.dev", issuer="corp"))
    assert outcome.reason is OutcomeReason.HELD_UP
    passes(old, 2, until=lambda: jobs(old) > 0)
    assert old.run() is v.ExitCode.LATER
    assert orders(old) == 0
    retry = old.record().retry
    assert retry is not None
    assert "not for namespace shop" in retry.problem.detail


def test_a_create_that_is_refused_later_replaces_nothing(old: JobWorld) -> None:
    issue_asked(old)
    before = leaf(old)
    old.clock.ahead += timedelta(seconds=5)
    create_refused(old, asking("evil.certjob.dev"))
    assert old.run() is v.ExitCode.DONE
    assert leaf(old) == before
    assert old.record().intent.hosts == (HOST,)
    assert orders(old) == 1


@pytest.mark.parametrize("due", [False, True])
def test_taking_the_label_away_ends_it_and_the_secret_stays(old: JobWorld, due: bool) -> None:
    issue_asked(old)
    edit(old, labels={v.REQUEST: None})
    if due:
        make_due(old)
    before = old.secret()
    passes(old, 20, until=lambda: old.record().phase is Phase.RETIRED)
    assert old.record().phase is Phase.RETIRED
    assert old.secret() == before
    assert jobs(old) == 1


def test_deleting_the_secret_ends_it(old: JobWorld) -> None:
    issue_asked(old)
    delete(old)
    passes(old, 20, until=lambda: old.record().phase is Phase.RETIRED)
    assert old.record().phase is Phase.RETIRED
    assert jobs(old) == 1


def test_one_that_is_stored_late_is_found_before_its_record_retires(old: JobWorld) -> None:
    body = asking()
    ask(old, body, stored=False)
    assert old.run() is v.ExitCode.LATER
    assert old.record().phase is Phase.UNCONFIRMED
    old.api.add(SECRETS, "shop", jsonpatch.apply_patch(body, list(decided(old, body, None).patch)))
    passes(old, 4, until=lambda: old.record().phase is Phase.LAUNCHED)
    assert old.run() is v.ExitCode.DONE
    assert not is_placeholder(leaf(old))


def test_a_change_that_the_webhook_missed_is_found_by_a_look(old: JobWorld) -> None:
    issue_asked(old)
    edit(old, hosts=f"{HOST} , {OTHER}")
    passes(old, 12, until=lambda: old.record().phase is Phase.LAUNCHED)
    assert old.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(old))) == {HOST, OTHER}


def test_a_renewal_keeps_what_its_owner_wrote(old: JobWorld) -> None:
    issue_asked(old, asking(renew_before="20d"))
    before, former = metadata(old), leaf(old)
    make_due(old)
    run(old)
    assert old.run() is v.ExitCode.DONE
    assert leaf(old) != former
    after = metadata(old)
    assert after["labels"] == before["labels"]
    assert {**after["annotations"], v.NOT_AFTER: ""} == {**before["annotations"], v.NOT_AFTER: ""}


def test_with_an_ingress_left_only_the_hosts_of_the_label_leave(old: JobWorld) -> None:
    issue_asked(old, asking(OTHER))
    old.clock.ahead += timedelta(seconds=5)
    old.apply(ingress(hosts=(HOST,)))
    assert old.run() is v.ExitCode.DONE
    edit(old, labels={v.REQUEST: None})
    passes(old, 16)
    assert (old.record().phase, old.record().intent.hosts) == (Phase.ISSUED, (HOST,))
    make_due(old)
    run(old)
    assert old.run() is v.ExitCode.DONE
    assert set(dns_names(leaf(old))) == {HOST}
