"""A certificate is revoked in a Job of its issuer, and another one with another key takes its place at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.checks.check import check_issuer
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json, Transport
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Record
from issuer_job.tenant_secrets.access import look_by_version
from issuer_job.upkeep.revocations import Outcome, Reason, Revocation, ask_for, find_revocation, rewrite
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.odd import ANSWERS, WORDS
from tests.worlds.check import check_jobs, launch
from tests.worlds.crash import killed_at
from tests.worlds.job import HOST, ISSUER, JobWorld, assert_good_secret, ingress
from tests.worlds.revocation import Operator, issued, pass_by, revocations, run_check_jobs, run_jobs, told
from tests.worlds.sweep import by_hand, delete_ingress, issue_one, jobs, orders, run, write, writes_nothing

pytestmark = pytest.mark.exhaustive

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def certified(swept: JobWorld) -> JobWorld:
    """With a certificate."""
    issue_one(swept)
    swept.clock.ahead += timedelta(minutes=1)
    return swept


def test_it_is_revoked_and_another_key_and_certificate_are_there_when_the_command_ends(certified: JobWorld) -> None:
    first, key = issued(certified), certified.secret()["data"]["tls.key"]
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}
    assert certified.secret()["data"]["tls.key"] != key
    assert (issued(certified).key_id != first.key_id, issued(certified).serial != first.serial) == (True, True)
    assert_good_secret(certified)
    assert orders(certified) == 2
    assert certified.record().phase is Phase.ISSUED
    assert any("revoked with reason keyCompromise" in line for line in operator.said)
    assert operator.said[-1] == f"shop.web-tls: issued anew, {issued(certified)}"
    assert {about["kind"] for about in told(certified, "CertificateRevoked")} == {"Secret", "Ingress", "ConfigMap"}
    assert [entry.event for entry in certified.record().history if "revoked" in entry.event] == ["to be revoked"]
    assert certified.left_over() == []
    pass_by(certified, after=HOUR)
    assert (orders(certified), len(revocations(certified))) == (2, 1)
    pass_by(certified, after=DAY)
    assert revocations(certified) == []
    assert len(certified.ca.revoked) == 1


def test_a_job_of_the_issuer_does_it(certified: JobWorld) -> None:
    before = jobs(certified)
    Operator(certified).revokes()
    assert jobs(certified) == before + 2
    [job] = check_jobs(certified)
    assert job["metadata"]["annotations"][v.RECORD] == ISSUER


def _checked(pod: Callable[..., Attempt], transport: Transport) -> v.ExitCode:
    return check_issuer(pod(transport=transport))


@pytest.mark.parametrize("kill_at", range(1, 9))
def test_a_job_that_dies_after_any_write_is_followed_by_one_that_goes_on(certified: JobWorld, kill_at: int) -> None:
    """Also when the CA has revoked and its answer was lost."""
    first, key = issued(certified), certified.secret()["data"]["tls.key"]

    def dies() -> None:
        for job in check_jobs(certified):
            if "status" not in job:
                pod = partial(certified.pod_of, job["metadata"]["name"])
                killed_at(certified, kill_at, partial(_checked, pod))
        run_jobs(certified)

    Operator(certified, on_wait=dies).revokes()
    assert certified.ca.revoked == {first.serial: 1}
    assert certified.secret()["data"]["tls.key"] != key
    assert issued(certified).serial != first.serial
    assert orders(certified) == 2


def test_a_command_that_dies_once_it_has_asked_is_carried_out_by_sweeps(certified: JobWorld) -> None:
    first = issued(certified)
    asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE)
    ask_for(certified.cluster, asked, now=certified.clock.read())
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: 1}
    pass_by(certified)
    assert issued(certified).serial != first.serial
    assert certified.record().attempt is not None
    assert certified.record().attempt.reason == LaunchReason.REVOKED
    assert_good_secret(certified)


def test_what_was_issued_after_it_was_asked_for_is_not_meant(certified: JobWorld) -> None:
    """No Job of the issuer could run until then: the key that may be known to others is the former one."""
    first = issued(certified)
    asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE)
    ask_for(certified.cluster, asked, now=certified.clock.read())
    certified.clock.ahead += timedelta(minutes=2)
    certified.apply(ingress(hosts=(HOST, "www.certjob.dev")))
    assert certified.run() is v.ExitCode.DONE
    second = issued(certified)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: 1}
    pass_by(certified)
    assert (issued(certified), orders(certified)) == (second, 2)


def test_what_an_operator_writes_by_hand_is_enough(certified: JobWorld) -> None:
    first = issued(certified)
    data = {"revocation.json": json.dumps({"namespace": "shop", "secretName": "web-tls", "reason": "superseded"})}
    metadata = {"name": f"revocation-{'0' * 32}", "labels": {v.REVOCATION: "true"}}
    certified.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": data})
    pass_by(certified)
    pass_by(certified)
    assert certified.ca.revoked == {first.serial: 4}
    assert issued(certified).serial != first.serial


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"namespace": "shop"}', '{"reason": "keyCompromised"}', "[" * 50_000]
)
def test_what_cannot_be_read_harms_nothing(certified: JobWorld, text: str) -> None:
    metadata = {"name": f"revocation-{'0' * 32}", "labels": {v.REVOCATION: "true"}}
    certified.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": {"revocation.json": text}})
    first = issued(certified)
    assert Operator(certified).revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}
    assert run(certified) is v.ExitCode.DONE


class Died(BaseException):
    """kill -9: nothing of the process runs on."""


@pytest.mark.parametrize("by_command", [True, False])
def test_an_attempt_that_died_with_the_revoked_key_does_not_bring_it_back(swept: JobWorld, by_command: bool) -> None:
    """The Secret was written, the record not: order, key and certificate would be taken up again."""
    swept.apply(ingress())
    attempt = swept.pod()
    advance = attempt.advance

    def dies(arrow: Callable[..., Record], *args: Any, **kwargs: Any) -> None:
        if arrow is transitions.issued:
            raise Died
        advance(arrow, *args, **kwargs)

    attempt.advance = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(Died):
        swept.issue(attempt)
    key = swept.secret()["data"]["tls.key"]
    assert (swept.record().phase, swept.record().issued) == (Phase.INSTALLING, None)
    swept.clock.ahead += timedelta(minutes=1)
    if by_command:
        assert Operator(swept).revokes() is v.ExitCode.DONE
    else:
        asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE)
        name = ask_for(swept.cluster, asked, now=swept.clock.read())
        held = find_revocation(swept.cluster, name)
        assert held is not None
        assert rewrite(swept.cluster, held, issuer=ISSUER) is not None
        launch(swept)
        run_check_jobs(swept)
        for _ in range(6):
            pass_by(swept)
    assert len(swept.ca.revoked) == 1
    assert [entry.event for entry in swept.record().history].count("issued") == 1  # never once more what was revoked
    assert swept.secret()["data"]["tls.key"] != key
    assert issued(swept).serial not in swept.ca.revoked
    assert orders(swept) == 2
    assert_good_secret(swept)


def test_a_certificate_of_another_issuer_than_todays(certified: JobWorld) -> None:
    first = issued(certified)
    certified.set_issuer("other", default=False, server="https://127.0.0.1:9/dir")
    certified.apply(ingress(annotations={v.ISSUER: "other"}))
    certified.run()
    assert certified.record().issuer == "other"
    assert Operator(certified).revokes() is v.ExitCode.LATER  # the other CA does not answer
    assert certified.ca.revoked == {first.serial: 1}
    assert certified.record().is_revoked


def test_of_two_issuers_at_one_ca_the_one_whose_account_ordered_it(certified: JobWorld) -> None:
    first = issued(certified)
    certified.set_issuer("a-second", default=False)
    notes = {v.ISSUER: "a-second"}
    issue_one(certified, ingress("two", secret="two-tls", hosts=("two.dev",), annotations=notes), secret="two-tls")
    certified.apply(ingress(annotations=notes))
    assert Operator(certified).revokes(serial=first.serial) is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}
    assert [job["metadata"]["annotations"][v.RECORD] for job in check_jobs(certified)] == [ISSUER]


@pytest.mark.parametrize("kind", ["selfsigned"])
def test_a_type_that_nobody_revokes_for_says_so_and_makes_another(swept: JobWorld, kind: str) -> None:
    swept.set_issuer(type=kind)
    issue_one(swept)
    first = issued(swept)
    swept.clock.ahead += timedelta(minutes=1)
    operator = Operator(swept)
    assert operator.revokes() is v.ExitCode.PERMANENT
    assert any("nobody publishes what is revoked" in line for line in operator.said)
    assert "issued anew" in operator.said[-1]
    assert issued(swept).key_id != first.key_id
    assert {about["kind"] for about in told(swept, "CertificateNotRevoked")} == {"Secret", "Ingress", "ConfigMap"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (problem("unauthorized", "not yours", status=403), "not yours"),
        (problem("malformed", "no such certificate", status=404), "no such certificate"),
        (None, "offers no revocation"),
    ],
)
def test_a_ca_that_refuses_is_quoted_and_another_is_made(
    certified: JobWorld, answer: Reply | None, words: str
) -> None:
    first = issued(certified)
    if answer is None:
        del certified.ca.directory["revokeCert"]
    certified.ca.before = lambda request: answer if request.path == "/revoke" else None
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.PERMANENT
    assert any(words in line for line in operator.said)
    assert issued(certified).key_id != first.key_id
    [held] = revocations(certified)
    assert (held.revocation.outcome, certified.ca.revoked) == (Outcome.REFUSED, {})


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_ca_that_has_revoked_it_may_say_what_it_likes(certified: JobWorld, answer: str) -> None:
    """Another certificate is there in any case; and what it says as if it had not is asked again, or told."""
    first, effect, odd = issued(certified), certified.ca._answer, True

    def before(request: Request) -> Reply | None:
        return ANSWERS[answer](effect(request)) if odd and request.path == "/revoke" else None

    certified.ca.before = before
    operator = Operator(certified)
    operator.revokes()
    assert issued(certified).key_id != first.key_id
    assert certified.ca.revoked == {first.serial: 1}
    odd = False
    pass_by(certified, after=2 * HOUR)
    [held] = revocations(certified)
    assert held.revocation.outcome is (Outcome.REFUSED if answer == "a refusal" else Outcome.REVOKED)
    assert answer != "a refusal" or any(WORDS in line for line in operator.said)


def test_a_reason_that_the_ca_does_not_take_is_left_out(certified: JobWorld) -> None:
    certified.ca.reasons = ()
    first = issued(certified)
    assert Operator(certified).revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: None}


def test_what_was_revoked_before_is_no_failure(certified: JobWorld) -> None:
    first = issued(certified)
    certified.ca.revoked[first.serial] = 4
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.DONE
    assert any("it was revoked before" in line for line in operator.said)
    assert issued(certified).serial != first.serial


def test_a_ca_that_is_away_is_asked_each_hour_until_it_is_there(certified: JobWorld) -> None:
    first, away = issued(certified), True
    certified.ca.before = lambda request: Reply(503, raw=b"") if away and request.path == "/revoke" else None
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.LATER
    assert any("not revoked yet" in line for line in operator.said)
    assert issued(certified).key_id != first.key_id  # which does not wait for it
    for _ in range(12):
        pass_by(certified, after=timedelta(minutes=10))
    asked = [request for request in certified.ca.requests if request.path == "/revoke"]
    assert 2 <= len(asked) <= 4
    away = False
    pass_by(certified, after=HOUR)
    assert certified.ca.revoked == {first.serial: 1}
    assert orders(certified) == 2


def test_one_that_stays_away_is_given_up_after_a_week_and_that_is_said(certified: JobWorld) -> None:
    certified.ca.before = lambda request: Reply(503, raw=b"") if request.path == "/revoke" else None
    end = certified.clock.read() + 90 * DAY
    write(certified, replace(certified.record(), issued=replace(issued(certified), not_after=end)))
    Operator(certified).revokes()
    for _ in range(9):
        certified.clock.ahead += DAY - HOUR
        run(certified)
        run_check_jobs(certified)
    [held] = [*revocations(certified), None][:1]
    assert held is None or held.revocation.outcome is Outcome.GIVEN_UP
    notes = [note for reason, note in certified.events() if reason == "CertificateNotRevoked"]
    assert any("given up, it could not be revoked for 7 days" in note for note in notes)


def test_before_1_36_the_record_has_the_certificate(swept: JobWorld) -> None:
    swept.policies.look = False
    swept.looker = look_by_version
    issue_one(swept)
    first = issued(swept)
    swept.clock.ahead += timedelta(minutes=1)
    assert Operator(swept).revokes() is v.ExitCode.DONE
    assert swept.ca.revoked == {first.serial: 1}
    assert issued(swept).serial != first.serial


def test_before_1_36_and_a_record_of_an_earlier_certjob_it_is_said(swept: JobWorld) -> None:
    swept.policies.look = False
    swept.looker = look_by_version
    issue_one(swept)
    write(swept, replace(swept.record(), issued=replace(issued(swept), leaf="")))
    swept.clock.ahead += timedelta(minutes=1)
    operator = Operator(swept)
    assert operator.revokes() is v.ExitCode.PERMANENT
    assert any(f"no more than serial {issued(swept).serial}" in line for line in operator.said)
    assert swept.ca.revoked == {}


def test_a_record_of_an_earlier_certjob_where_the_secret_is_shown(certified: JobWorld) -> None:
    first = issued(certified)
    write(certified, replace(certified.record(), issued=replace(first, leaf="")))
    assert Operator(certified).revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}


def test_an_earlier_certificate_by_its_serial_number(certified: JobWorld) -> None:
    first = issued(certified)
    Operator(certified).revokes(Reason.SUPERSEDED)
    second = issued(certified)
    certified.ca.revoked.clear()
    certified.clock.ahead += timedelta(minutes=1)
    operator = Operator(certified)
    assert operator.revokes(serial=first.serial) is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}
    assert issued(certified) == second
    assert "no other certificate is made" in operator.said[-1]
    assert Operator(certified).revokes(serial="ab") is v.ExitCode.PERMANENT


def backup(world: JobWorld, secret: str = "web-tls") -> Json:
    found = world.api.stored(SECRETS, "shop", secret)
    assert found is not None
    return found


def test_a_certificate_of_others_in_the_secret_is_not_revoked_for_it(certified: JobWorld) -> None:
    """Certificates are public, and whoever has a Secret can write any into it: one without its key is not its own."""
    issue_one(certified, ingress("two", secret="two-tls", hosts=("two.dev",)), secret="two-tls")
    first, held = issued(certified), backup(certified)
    held["data"] |= {"tls.crt": backup(certified, "two-tls")["data"]["tls.crt"]}
    certified.api.add(SECRETS, "shop", held)
    assert Operator(certified).revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}


def test_a_revoked_certificate_that_comes_back_from_a_backup_does_not_stay(certified: JobWorld) -> None:
    first, before = issued(certified), backup(certified)
    Operator(certified).revokes()
    certified.api.add(SECRETS, "shop", before)
    run(certified)
    for _ in range(13):
        pass_by(certified)
    assert issued(certified).serial != first.serial
    assert certified.secret()["data"]["tls.crt"] != before["data"]["tls.crt"]
    assert orders(certified) == 3
    assert_good_secret(certified)


def test_nor_does_it_when_its_ingress_is_made_anew(certified: JobWorld) -> None:
    asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE)
    first = issued(certified)
    ask_for(certified.cluster, asked, now=certified.clock.read())
    certified.clock.ahead += timedelta(minutes=1)
    run(certified)
    run_check_jobs(certified)
    certified.relaunch()
    assert certified.run() is v.ExitCode.DONE
    assert issued(certified).key_id != first.key_id


def test_limits_of_the_issuer_do_not_hold_the_new_one_back(certified: JobWorld) -> None:
    certified.set_issuer(limits={"perExactSet": 1})
    asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE)
    first = issued(certified)
    ask_for(certified.cluster, asked, now=certified.clock.read())
    for _ in range(3):
        pass_by(certified)
    assert issued(certified).serial != first.serial


def test_a_certificate_that_its_owner_put_there(certified: JobWorld) -> None:
    """It is the CA that says it does not know it; certjob has another made all the same."""
    by_hand(certified)
    for _ in range(13):
        pass_by(certified)
    assert issued(certified).directory == ""
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.PERMANENT
    assert any("another account's" in line for line in operator.said)
    assert issued(certified).directory == certified.server
    assert_good_secret(certified)


def test_a_secret_that_certjob_knows_nothing_of(swept: JobWorld) -> None:
    operator = Operator(swept)
    assert operator.revokes(secret="other") is v.ExitCode.PERMANENT
    assert operator.said == ["the certificate of Secret shop/other: there is no record shop.other of it"]
    assert writes_nothing(swept)


def test_one_that_nobody_asks_for_any_more_is_revoked_and_not_replaced(certified: JobWorld) -> None:
    first = issued(certified)
    delete_ingress(certified)
    for _ in range(4):
        pass_by(certified)
    assert certified.record().phase is Phase.RETIRED
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.DONE
    assert certified.ca.revoked == {first.serial: 1}
    assert "no other certificate is made" in operator.said[-1]
    assert orders(certified) == 1


def test_an_issuer_that_is_gone(certified: JobWorld) -> None:
    certified.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.PERMANENT
    assert "gone or broken" in operator.said[0]


def test_an_issuer_that_has_got_another_ca_since_it_was_chosen(certified: JobWorld) -> None:
    """What that says is no word about the certificate: it is put off until an issuer has its CA."""
    first = issued(certified)
    asked = Revocation(namespace="shop", secret_name="web-tls", reason=Reason.KEY_COMPROMISE, serial=first.serial)
    held = find_revocation(certified.cluster, ask_for(certified.cluster, asked, now=certified.clock.read()))
    assert held is not None
    assert rewrite(certified.cluster, held, issuer=ISSUER) is not None
    directory = Reply(200, certified.ca.directory, nonce=False)
    certified.ca.before = lambda request: directory if request.path == "/elsewhere" else None
    certified.set_issuer(server=f"{certified.ca.base}/elsewhere")
    launch(certified)
    run_check_jobs(certified)
    [held] = revocations(certified)
    assert held.revocation.outcome is None
    assert "another CA" in held.revocation.problem
    assert certified.ca.revoked == {}
    certified.set_issuer()
    for _ in range(14):
        pass_by(certified)
    assert list(certified.ca.revoked) == [first.serial]


def test_two_accounts_of_elsewhere(certified: JobWorld) -> None:
    """The CA has forgotten the account: it is asked for anew, and what the CA says then is final."""
    [account] = certified.ca.accounts
    certified.ca.forget_account(account)
    operator = Operator(certified)
    assert operator.revokes() is v.ExitCode.LATER
    assert any("not revoked yet" in line for line in operator.said)
    for _ in range(14):
        pass_by(certified)
    [held] = revocations(certified)
    assert held.revocation.outcome is Outcome.REFUSED
    assert "another account's" in held.revocation.problem
    assert HOST in issued(certified).hosts


@pytest.mark.parametrize("bundle", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_wrong_with_the_issuer_is_not_the_cas_last_word(certified: JobWorld, bundle: str) -> None:
    """An operator mends it, and the next Job goes on."""
    first = issued(certified)
    if bundle:
        certified.set_issuer(caBundle=bundle)
    else:
        certified.ca.forget_account(*certified.ca.accounts)
        state = certified.api.all(CONFIGMAPS, v.NAMESPACE)
        for found in (one for one in state if v.ISSUER_STATE in (one["metadata"].get("labels") or {})):
            found["data"].pop("accountUrl", None)
            certified.api.add(CONFIGMAPS, v.NAMESPACE, found)
    refusal = problem("externalAccountRequired", "who are you?", status=403)
    certified.ca.before = lambda request: refusal if request.path == "/account" else None
    assert Operator(certified).revokes() is v.ExitCode.LATER
    [held] = revocations(certified)
    assert (held.revocation.outcome, held.revocation.serial) == (None, first.serial)
    assert certified.record().has_revoked(serial=first.serial)


def test_a_request_that_the_job_cannot_end_keeps_no_other_waiting(certified: JobWorld) -> None:
    seen: list[str] = []

    def before(request: Request) -> Reply | None:
        if request.path == "/revoke":
            seen.append(request.path)
            return Reply(503, raw=b"") if len(seen) == 1 else None
        return None

    issue_one(certified, ingress("two", secret="two-tls", hosts=("two.dev",)), secret="two-tls")
    for secret in ("web-tls", "two-tls"):
        asked = Revocation(namespace="shop", secret_name=secret, reason=Reason.KEY_COMPROMISE)
        ask_for(certified.cluster, asked, now=certified.clock.read())
    certified.ca.before = before
    pass_by(certified)
    assert len(certified.ca.revoked) == 1
