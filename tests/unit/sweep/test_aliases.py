"""Ingresses that ask by cert-manager's annotations: sweep and Job read them where the operator has it so."""

from __future__ import annotations

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, Json
from issuer_job.record.record import Phase
from tests.worlds.job import ISSUER, JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import MINUTE, jobs, orders, passes, run

ON = {"certManagerAnnotations": True}


def theirs(**notes: str) -> Json:
    """An Ingress that says nothing to certjob in its own words."""
    body = ingress()
    body["metadata"]["annotations"] = {"cert-manager.io/cluster-issuer": ISSUER, **notes}
    return body


@pytest.fixture
def aliased(swept: JobWorld) -> JobWorld:
    swept.set_options(**ON)
    return swept


def test_they_say_nothing_unless_that_is_set(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", theirs())
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 0


def test_sweep_and_job_read_them(aliased: JobWorld) -> None:
    body = theirs(**{"cert-manager.io/private-key-algorithm": "ECDSA", "cert-manager.io/private-key-size": "384"})
    aliased.api.add(INGRESSES, "shop", body)
    run(aliased)
    assert aliased.run() is v.ExitCode.DONE
    assert_good_secret(aliased)
    record = aliased.record()
    assert (record.phase, record.intent.settings.key_algorithm) == (Phase.ISSUED, "ecdsa-p384")
    passes(aliased, 5)
    assert (jobs(aliased), orders(aliased), aliased.record().phase) == (1, 1, Phase.ISSUED)


def test_what_is_refused_is_told_once_as_what_it_is_and_orders_nothing(aliased: JobWorld) -> None:
    aliased.api.add(INGRESSES, "shop", theirs(**{"cert-manager.io/usages": "client auth"}))
    run(aliased)
    assert jobs(aliased) == 0
    ((reason, note),) = aliased.events()
    assert reason == "CertificateFailed"
    assert "cert-manager.io/usages" in note


def test_what_is_ignored_is_told_by_no_sweep(aliased: JobWorld) -> None:
    aliased.api.add(INGRESSES, "shop", theirs(**{"cert-manager.io/revision-history-limit": "1"}))
    run(aliased)
    assert jobs(aliased) == 1
    assert aliased.events() == []


def test_one_that_becomes_impossible_keeps_what_it_has(aliased: JobWorld) -> None:
    aliased.api.add(INGRESSES, "shop", theirs())
    run(aliased)
    assert aliased.run() is v.ExitCode.DONE
    aliased.api.add(INGRESSES, "shop", theirs(**{"cert-manager.io/duration": "24h"}))
    passes(aliased, 5)
    assert aliased.record().phase is Phase.ISSUED


def test_where_it_is_set_off_again_nobody_asks_any_more(aliased: JobWorld) -> None:
    aliased.api.add(INGRESSES, "shop", theirs())
    run(aliased)
    assert aliased.run() is v.ExitCode.DONE
    aliased.set_options()
    passes(aliased, 1)
    assert aliased.record().phase is Phase.ORPHANED
    aliased.set_options(**ON)
    aliased.clock.ahead += 11 * MINUTE
    run(aliased)
    assert aliased.run() is v.ExitCode.DONE
    assert (aliased.record().phase, orders(aliased)) == (Phase.ISSUED, 1)


def test_an_empty_spec_tls_is_completed_without_words_that_nobody_wrote(aliased: JobWorld) -> None:
    aliased.set_options(**ON, completeTls=True)
    body = theirs()
    del body["spec"]["tls"]
    aliased.api.add(INGRESSES, "shop", body)
    run(aliased)
    stored = aliased.api.stored(INGRESSES, "shop", "web")
    assert stored is not None
    assert set(stored["metadata"]["annotations"]) == {"cert-manager.io/cluster-issuer", v.TLS_ENTRY}
    assert set(stored) == set(body)
    assert len(stored["spec"]["tls"]) == 1
    aliased.clock.ahead += 5 * MINUTE
    run(aliased)
    assert jobs(aliased) == 1


def test_a_job_waits_while_the_options_are_broken(aliased: JobWorld) -> None:
    aliased.api.add(INGRESSES, "shop", theirs())
    run(aliased)
    aliased.set_options(certManagerAnnotations="perhaps")
    assert aliased.run() is v.ExitCode.LATER
    retry = aliased.record().retry
    assert retry is not None
    assert retry.problem.type == "brokenOptions"
