"""Credentials that were put right: no configuration shows it, but the first attempt that has them writes it down."""

from __future__ import annotations

import hashlib
import json
from functools import partial

from issuer_job import vocabulary as v
from issuer_job.account.account import EAB_HMAC_KEY
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.attempt.solver import ChallengeSolver
from issuer_job.issue.issue import issue
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import ChallengeType
from issuer_job.issuers.state import CREDENTIALS, CREDENTIALS_SINCE
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Problem
from tests.fakes.acme import problem
from tests.fakes.solver import FakeSolver
from tests.worlds.check import check, credentials, state
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.sweep import MINUTE, run

WRONG, RIGHT = b"d3JvbmctbWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM", b"cmlnaHQtbWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"
BY_DNS = [{"dns01": {"provider": "ddns"}}]


def second(world: JobWorld) -> str:
    """Another Ingress of the issuer's, a minute later; its Secret."""
    world.clock.ahead += MINUTE
    world.apply(ingress("second", hosts=("second.certjob.dev",), secret="second-tls"))
    return "second-tls"


def launched_again(world: JobWorld) -> bool:
    """Whether the next sweep tries the first one."""
    world.clock.ahead += MINUTE / 6
    run(world)
    attempt = world.record().attempt
    assert attempt is not None
    return (world.record().phase, attempt.reason) == (Phase.LAUNCHED, LaunchReason.ISSUER_EDITED)


def test_an_external_account_that_works_for_another_is_tried_again(swept: JobWorld) -> None:
    swept.set_issuer(externalAccount={"keyId": "k"})
    credentials(swept, {EAB_HMAC_KEY: WRONG})
    nobody = problem("accountDoesNotExist")
    swept.ca.script("/account", nobody, problem("unauthorized", "bad MAC", status=403), nobody)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.PERMANENT
    assert not launched_again(swept)
    credentials(swept, {EAB_HMAC_KEY: RIGHT})
    assert swept.run(secret=second(swept)) is v.ExitCode.DONE
    assert launched_again(swept)
    assert swept.run() is v.ExitCode.DONE


def dns_job(world: JobWorld, secret: str, *, refused: bool) -> v.ExitCode:
    """An attempt whose DNS provider takes the credentials or not."""
    solver = FakeSolver(slow_release=True)
    if refused:
        solver.raises["present"] = [Later(Problem(type="dnsProvider", detail="no such key", step="dns"))]

    def make(kind: ChallengeType, attempt: Attempt) -> ChallengeSolver:
        return solver if kind is ChallengeType.DNS_01 else FakeSolver()

    return issue(world.pod(secret=secret), {kind: partial(make, kind) for kind in ChallengeType})


def test_a_dns_provider_that_works_for_another_is_tried_again(swept: JobWorld) -> None:
    swept.set_issuer(solvers=BY_DNS)
    credentials(swept, {"token": b"wrong"})
    swept.apply(ingress())
    assert dns_job(swept, "web-tls", refused=True) is v.ExitCode.LATER
    credentials(swept, {"token": b"right"})
    assert dns_job(swept, second(swept), refused=False) is v.ExitCode.DONE
    assert launched_again(swept)


def test_the_same_credentials_start_nothing_and_write_nothing(swept: JobWorld) -> None:
    swept.set_issuer(solvers=BY_DNS)
    credentials(swept, {"token": b"some"})
    swept.apply(ingress())
    assert dns_job(swept, "web-tls", refused=True) is v.ExitCode.LATER
    before = state(swept).data
    assert CREDENTIALS in before
    assert dns_job(swept, second(swept), refused=False) is v.ExitCode.DONE
    assert state(swept).data[CREDENTIALS] == before[CREDENTIALS]
    assert CREDENTIALS_SINCE not in state(swept).data
    assert not launched_again(swept)


def test_an_issuer_without_credentials_has_none_to_look_at(world: JobWorld) -> None:
    check(world)
    assert CREDENTIALS not in state(world).data


def test_nothing_of_them_can_be_guessed_from_what_is_written_down(world: JobWorld) -> None:
    world.set_issuer(solvers=BY_DNS)
    credentials(world, {"password": b"1234"})
    check(world)
    stored = json.dumps(dict(state(world).data))
    assert "1234" not in stored
    assert hashlib.sha256(b"1234").hexdigest()[:16] not in stored
    world.apply(ingress())
    mounted = MountedIssuer(world.pod(), ISSUER, Issuer(server=world.server))
    by_key = {mounted.fingerprint(key) for key in (b"one account's key", b"another's")}
    assert len(by_key) == 2, "only who has the account's key can try"
    assert state(world).data[CREDENTIALS] not in by_key


def test_where_a_key_ends_matters(world: JobWorld) -> None:
    seen = set()
    for keys in ({"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"b\nc "}, {"a": b"", "bc": b""}, {}):
        credentials(world, keys)
        world.apply(ingress(f"web-{len(seen)}", secret=f"s{len(seen)}-tls"))
        mounted = MountedIssuer(world.pod(secret=f"s{len(seen)}-tls"), ISSUER, Issuer(server=world.server))
        seen.add(mounted.fingerprint(b"key"))
    assert len(seen) == 6
