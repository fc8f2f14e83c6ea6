"""What attempts, tests of issuers and sweeps say of themselves at their end."""

from __future__ import annotations

import time
from datetime import timedelta

from issuer_job import last_word
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.checks.check import check_issuer
from issuer_job.cluster.api import INGRESSES
from issuer_job.last_word import LastWord, Tally, Work
from issuer_job.sweep.sweep import sweep
from tests.fakes.api import status
from tests.worlds.check import pod as pod_that_tests
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress


def said_by(attempt: Attempt, code: v.ExitCode) -> LastWord:
    """As whoever reads the pod's status has it."""
    word = last_word.read(last_word.line_of(attempt.tally.word(code)).decode())
    assert word is not None
    return word


def issued(world: JobWorld) -> LastWord:
    attempt = world.pod()
    return said_by(attempt, world.issue(attempt))


def swept_with(world: JobWorld) -> tuple[v.ExitCode, LastWord]:
    tally, deadline = Tally(Work.SWEEP), time.monotonic() + 60
    code = sweep(
        world.cluster,
        deadline=deadline,
        clock=world.clock.read,
        sleep=lambda s: None,
        looker=world.looker,
        tally=tally,
    )
    word = last_word.read(last_word.line_of(tally.word(code)).decode())
    assert word is not None
    return code, word


def test_an_attempt_says_where_its_time_went(world: JobWorld) -> None:
    world.apply(ingress())
    word = issued(world)
    assert (word.exit_code, word.problem) == (0, "")
    assert list(word.steps) == ["Claimed", "Ordering", "Authorizing", "Finalizing", "Installing"]


def test_one_that_fails_says_of_what_kind_that_was_and_not_where(world: JobWorld) -> None:
    said = {"type": "urn:ietf:params:acme:error:connection", "detail": f"{HOST}: Timeout during connect"}
    world.ca.failing = {HOST: said}
    world.apply(ingress())
    attempt = world.pod()
    word = said_by(attempt, world.issue(attempt))
    assert (word.exit_code, word.problem) == (11, "connection")
    line = last_word.line_of(word).decode()
    for told in (HOST, "shop", "web-tls", ISSUER, attempt.record.uid, "Timeout"):
        assert told not in line


def test_a_ca_that_makes_up_a_type_names_no_host_with_it(world: JobWorld) -> None:
    world.ca.failing = {HOST: {"type": f"urn:example:{HOST}", "detail": "no"}}
    world.apply(ingress())
    assert issued(world).problem == "other"


def test_one_that_waits_for_a_limit_says_so(world: JobWorld) -> None:
    world.set_issuer(limits={"orders": 1})
    for number in range(2):
        world.apply(ingress(f"web{number}", secret=f"s{number}", hosts=(f"h{number}.certjob.dev",)))
    assert world.run(secret="s0") is v.ExitCode.DONE
    attempt = world.pod(secret="s1")
    assert said_by(attempt, world.issue(attempt)).problem == "heldBack"


def test_one_that_was_refused_a_secret_says_so(world: JobWorld) -> None:
    world.policies.full.add("shop")
    world.apply(ingress())
    assert issued(world).problem == "quotaExceeded"


def test_one_whose_policies_are_gone_says_so(world: JobWorld) -> None:
    world.apply(ingress())
    world.policies.in_force = False
    assert issued(world).problem == "policiesNotInForce"


def test_the_next_pod_of_an_attempt_that_has_ended_does_not_say_it_again(world: JobWorld) -> None:
    world.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:caa", "detail": "no"}}
    world.apply(ingress())
    assert world.run() is v.ExitCode.PERMANENT
    word = issued(world)
    assert (word.exit_code, word.problem) == (10, "")


def test_a_test_of_an_issuer_names_what_it_found_first(world: JobWorld) -> None:
    attempt = pod_that_tests(world)
    assert said_by(attempt, check_issuer(attempt)).problem == ""
    world.ca.profiles = {}  # type: ignore[attr-defined]
    world.set_issuer(profile="none-such")
    attempt = pod_that_tests(world)
    word = said_by(attempt, check_issuer(attempt))
    assert (word.exit_code, word.problem) == (10, "ProfileNotOffered")


def test_a_pass_counts_what_it_did_and_what_it_took(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    code, word = swept_with(swept)
    assert code is v.ExitCode.DONE
    assert word.counts.items() >= {"Launched": 1, "ingresses": 1}.items()
    assert word.trouble == 0
    assert list(word.steps) == ["Opening", "Reading", "Suggestions", "Claims", "Launches", "Tidying"]
    swept.clock.ahead += timedelta(minutes=5)
    _, word = swept_with(swept)
    assert word.counts["records"] == 1


def test_a_pass_that_may_do_nothing_says_why(swept: JobWorld) -> None:
    swept.set_options(hostPolicy="nonsense")
    code, word = swept_with(swept)
    assert (code, word.problem) == (v.ExitCode.LATER, "brokenOptions")
    swept.policies.in_force = False
    code, word = swept_with(swept)
    assert (code, word.problem) == (v.ExitCode.LATER, "policiesNotInForce")


def test_what_a_pass_leaves_to_the_next_one_is_its_trouble(swept: JobWorld) -> None:
    swept.api.fail("GET", f"/namespaces/{v.NAMESPACE}/ingresses", status(503, "ServiceUnavailable"), times=9)
    code, word = swept_with(swept)
    assert (code, word.trouble, word.counts) == (v.ExitCode.DONE, 1, {})
