"""Who may write the record: epoch, holder, and the pods of one attempt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.account.replacement import forget_dead
from issuer_job.acme_client import AcmeError, AcmeProblem
from issuer_job.attempt.attempt import Attempt, Ended, OtherPod, Superseded
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.cluster.api import CONFIGMAPS, Json, Unreachable
from issuer_job.issue import confirm
from issuer_job.record import transitions
from issuer_job.record.record import Phase, Record, Source
from issuer_job.record.store import to_config_map
from tests.fakes.acme import Request
from tests.worlds.job import JobWorld, ingress


def claimed(world: JobWorld) -> Attempt:
    attempt = world.pod()
    attempt.load()
    attempt.claim()
    return attempt


def write(world: JobWorld, record: Record) -> None:
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(record))


@pytest.fixture
def launched(world: JobWorld) -> JobWorld:
    world.apply(ingress())
    return world


def test_a_claim_says_how_its_process_started(launched: JobWorld) -> None:
    for stretch in (3.14, 0.0):  # another pod, which does not know
        pod = dataclasses.replace(launched.pod(), stretch=stretch)
        pod.load()
        pod.claim()
        assert transitions.attempt_of(launched.record()).stretch == stretch


def test_a_newer_epoch_supersedes(launched: JobWorld) -> None:
    attempt = claimed(launched)
    launched.relaunch()
    before = launched.record()
    with pytest.raises(Superseded):
        attempt.advance(transitions.ordering, directory="d", account="a")
    assert launched.record() == before
    assert Superseded.exit_code == 12


def test_a_superseded_job_touches_nothing(launched: JobWorld) -> None:
    old = launched.pod()
    launched.relaunch()
    before = [launched.record(), launched.secret(), launched.left_over()]
    launched.api.requests.clear()
    assert launched.issue(old) is v.ExitCode.SUPERSEDED
    assert [launched.record(), launched.secret(), launched.left_over()] == before
    assert [request.method for request in launched.api.requests] == ["GET"]


def test_a_superseded_job_writes_no_secret_and_releases_no_route(launched: JobWorld) -> None:
    old = launched.pod()

    def relaunch(request: Request) -> None:
        if request.path == "/cert/1":
            launched.relaunch()

    launched.ca.before = relaunch
    assert launched.issue(old) is v.ExitCode.SUPERSEDED
    assert launched.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert launched.record().phase is Phase.LAUNCHED
    assert launched.events() == []
    launched.ca.before = lambda request: None
    assert launched.run() is v.ExitCode.DONE
    assert len(launched.ca.ordered) == 1
    assert launched.left_over() == []


def test_a_record_made_anew_under_the_same_name_is_not_ours(launched: JobWorld) -> None:
    attempt = launched.pod()
    body = launched.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    assert body is not None
    launched.api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    del body["metadata"]["uid"]
    launched.api.add(CONFIGMAPS, v.NAMESPACE, body)
    assert launched.issue(attempt) is v.ExitCode.SUPERSEDED


def test_a_record_that_is_gone(launched: JobWorld) -> None:
    attempt = launched.pod()
    launched.api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    assert launched.issue(attempt) is v.ExitCode.SUPERSEDED


def test_the_second_pod_takes_over_and_the_first_leaves_without_ending_the_job(launched: JobWorld) -> None:
    first = claimed(launched)
    second = claimed(launched)
    assert launched.record().attempt == transitions.attempt_of(second.record)
    with pytest.raises(OtherPod):
        first.advance(transitions.ordering, directory="d", account="a")
    assert OtherPod.exit_code == 13  # ignored; 12 would end the Job, and with it the second pod
    second.advance(transitions.ordering, directory="d", account="a")


def test_a_pod_may_take_over_while_the_other_one_writes(launched: JobWorld) -> None:
    first = claimed(launched)
    second = launched.pod()
    second.load()
    first.advance(transitions.ordering, directory="d", account="a")
    second.claim()
    assert transitions.attempt_of(launched.record()).holder == second.pod.uid
    with pytest.raises(OtherPod):
        first.advance(transitions.authorizing, order_url="u", expires=None)


def test_a_pod_that_is_too_late_to_take_over(launched: JobWorld) -> None:
    late = launched.pod()
    late.load()
    assert launched.run() is v.ExitCode.DONE
    with pytest.raises(Ended) as ended:
        late.claim()
    assert ended.value.exit_code is v.ExitCode.DONE


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.ISSUED, 0),
        (Phase.WAITING, 11),
        (Phase.UNCONFIRMED, 11),
        (Phase.FAILED, 10),
        (Phase.ORPHANED, 11),
        (Phase.RETIRED, 12),
    ],
)
def test_an_attempt_that_has_ended_says_how(launched: JobWorld, phase: Phase, code: int) -> None:
    attempt = launched.pod()
    write(launched, replace(launched.record(), phase=phase))
    assert launched.issue(attempt) == code
    assert launched.ca.requests == []


def broken(world: JobWorld, how: str) -> Json:
    """The record as nobody can read it: of a later certjob, or damaged by hand."""
    body = to_config_map(replace(world.record(), version=3))
    body["data"] = {"later": body["data"], "damaged": {v.RECORD_KEY: "{"}, "empty": None}[how]
    return world.api.add(CONFIGMAPS, v.NAMESPACE, body)


@pytest.mark.parametrize("how", ["later", "damaged", "empty"])
def test_a_record_that_cannot_be_read_ends_the_job_in_one_line(
    launched: JobWorld, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = launched.pod()
    stored = broken(launched, how)
    launched.api.requests.clear()
    with caplog.at_level("INFO"):
        assert launched.issue(attempt) is v.ExitCode.PERMANENT  # by which podFailurePolicy starts no further pod
    assert [(line.message, line.fields["exit_code"]) for line in caplog.records] == [("stopped", 10)]  # type: ignore[attr-defined]
    assert "record shop.web-tls" in caplog.records[0].fields["reason"]  # type: ignore[attr-defined]
    assert launched.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls") == stored
    assert [request.method for request in launched.api.requests] == ["GET"]


def test_a_record_that_a_later_certjob_writes_during_the_order_is_left_to_it(launched: JobWorld) -> None:
    attempt = launched.pod()
    stored: list[Json] = []

    def rewrite(request: Request) -> None:
        if request.path == "/cert/1":
            stored.append(broken(launched, "later"))

    launched.ca.before = rewrite
    assert launched.issue(attempt) is v.ExitCode.PERMANENT
    assert [launched.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")] == stored
    assert launched.secret()["metadata"]["labels"][v.STATE] == "placeholder"


def test_a_source_joined_meanwhile_is_kept(launched: JobWorld) -> None:
    attempt = claimed(launched)
    record = launched.record()
    second = replace(record.sources[0], name="second")
    write(launched, replace(record, sources=(*record.sources, second)))
    attempt.advance(transitions.ordering, directory="d", account="a")
    assert [source.name for source in launched.record().sources] == ["web", "second"]
    assert launched.record().phase is Phase.ORDERING


def test_an_answer_that_was_lost_is_recognized(launched: JobWorld) -> None:
    attempt = claimed(launched)
    launched.api.fail("PUT", "/configmaps/", Unreachable("cut"), after=True)
    with pytest.raises(Unreachable):
        attempt.advance(transitions.ordering, directory="d", account="a")
    attempt.advance(transitions.ordering, directory="d", account="a")  # as the retrying transport does
    assert len(attempt.record.history) == len(launched.record().history)
    assert attempt.record.phase is Phase.ORDERING


def test_keys_come_from_the_mounts_or_from_this_pod(launched: JobWorld, tmp_path: Path) -> None:
    attempt = claimed(launched)
    attempt.mounts = tmp_path
    assert attempt.mounted("account", "key.pem") is None
    attempt.made["account"] = b"m-a-d-e"
    assert attempt.mounted("account", "key.pem") == b"m-a-d-e"
    (tmp_path / "pending").mkdir()
    (tmp_path / "pending" / "key.pem").write_bytes(b"there")
    assert attempt.mounted("pending", "key.pem") == b"there"
    assert "m-a-d-e" not in repr(attempt)


def test_the_live_sources_replace_the_hint(launched: JobWorld) -> None:
    attempt = claimed(launched)
    source = launched.record().sources[0]
    live = (Source(hosts=("x.certjob.dev",), settings=source.settings, name="web", uid="u"),)
    attempt.advance(transitions.confirmed, sources=live, known=attempt.record.sources)
    record = launched.record()
    assert (record.intent.hosts, record.generation) == (("x.certjob.dev",), 2)
    assert transitions.attempt_of(record).generation == 2


def test_a_dead_account_that_another_job_has_dropped_already_is_asked_for_anew(world: JobWorld) -> None:
    world.apply(ingress())
    pod = world.pod()
    pod.load()
    pod.claim()
    pod.advance(transitions.ordering, directory=world.server, account="https://ca.dev/account/gone")
    gone = AcmeError(AcmeProblem("accountDoesNotExist", "gone"), step="newOrder")
    resolved = confirm.resolve_issuer(pod)
    assert forget_dead(MountedIssuer(pod, resolved.name, resolved.issuer), gone, used="https://ca.dev/account/gone")
