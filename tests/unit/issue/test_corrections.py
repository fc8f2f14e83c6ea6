"""An issuer that is corrected while an order of its is under way: the next attempt starts from what is true then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64decode
from msgspec.structs import replace

from certs.keys import KeyAlgorithm, generate_key, is_of, key_from_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issue.issue import issue
from issuer_job.issue.solvers import MakeSolver
from issuer_job.issuers.solvers import ChallengeType
from issuer_job.record.record import Phase
from issuer_job.record.store import to_config_map
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import Failing, NewCa
from tests.fakes.solver import FakeSolver
from tests.worlds.crash import run_until
from tests.worlds.job import HOST, JobWorld, ingress

pytestmark = pytest.mark.exhaustive

INTERNAL = problem("serverInternal", "The server experienced an internal error", status=500)
UNWANTED = problem("malformed", "not this key")
P384 = {"keyAlgorithm": "ecdsa-p384"}
CORRECTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"lifetime": "168h"}, {}),
    ({}, {"lifetime": "168h"}),
    ({"lifetime": "168h"}, {"lifetime": "24h"}),
    ({"profile": "tlsserver"}, {}),
    ({}, {"profile": "tlsserver"}),
]


def refuse_first(world: JobWorld) -> None:
    """At finalize, as step-ca does with too long a life: the order stays ready."""
    world.ca.before = lambda request: INTERNAL if request.path == "/finalize/1" else None


def asked_for(world: JobWorld) -> list[Any]:
    """What each newOrder said besides the hosts."""
    sent = (request.payload for request in world.ca.requests if request.path == "/order" and request.payload)
    return [{key: value for key, value in payload.items() if key != "identifiers"} for payload in sent]


@pytest.mark.parametrize("lists", [True, False], ids=["with a list of orders", "without"])
@pytest.mark.parametrize(("before", "after"), CORRECTED)
def test_an_order_on_other_terms_is_not_taken_up_again(
    world: JobWorld, before: dict[str, Any], after: dict[str, Any], lists: bool
) -> None:
    world.ca.lists_orders = lists
    refuse_first(world)
    world.set_issuer(**before)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    world.set_issuer(**after)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE, world.record().retry
    assert len(world.ca.ordered) == 2
    first, second = asked_for(world)
    assert first != second
    assert {key.replace("notAfter", "lifetime") for key in second} == set(after)


def test_an_order_whose_url_was_never_known_is_not_looked_for_on_other_terms(world: JobWorld) -> None:
    """The list has it; its answer was lost, and then the issuer was corrected."""
    world.set_issuer(lifetime="168h")
    world.ca.before = lambda request: lost(world, request)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert [order.status for order in world.ca.ordered[:1]] == ["pending"]
    world.ca.before = lambda request: None
    world.set_issuer()
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert world.ca.ordered[0].status == "pending"


def lost(world: JobWorld, request: Request) -> Reply | None:
    """The order is made, but nobody hears of it."""
    if request.path.endswith("/orders"):
        return INTERNAL
    if request.path != "/order":
        return None
    world.ca._answer(request)
    return INTERNAL


@pytest.mark.parametrize("fields", [{"email": "ops@certjob.dev"}, {"preferredChain": "X"}, {"limits": {"orders": 7}}])
def test_another_correction_goes_on_with_the_order(world: JobWorld, fields: dict[str, Any]) -> None:
    world.ca.script("/finalize/1", *[INTERNAL] * 4)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    world.set_issuer(**fields)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


def test_an_order_of_an_earlier_certjob_goes_on_whatever_the_issuer_says(world: JobWorld) -> None:
    """It does not say on which terms it was made."""
    world.ca.script("/finalize/1", *[INTERNAL] * 4)
    world.set_issuer(lifetime="168h")
    world.apply(ingress())
    world.run()
    record = world.record()
    assert record.attempt is not None
    assert record.attempt.terms == "profile -, lifetime 7 days, 0:00:00"
    earlier = replace(record, attempt=replace(record.attempt, terms=""))
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(earlier))
    world.set_issuer()
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


def test_another_solver_goes_on_with_the_order(world: JobWorld) -> None:
    """What the CA could not see by HTTP it is shown by DNS: the authorization offers both."""
    world.ca.fails, world.ca.failing = Failing.NOTHING, {HOST: {"type": "x", "detail": "no answer"}}
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    world.ca.failing = {}
    world.set_issuer(solvers=[{"dns01": {"provider": "ddns"}}])
    world.relaunch()
    solver = FakeSolver(slow_release=True)
    makers: dict[ChallengeType, MakeSolver] = dict.fromkeys(ChallengeType, lambda attempt: solver)
    assert issue(world.pod(), makers) is v.ExitCode.DONE
    assert "present" in solver.asked
    assert len(world.ca.ordered) == 1


# The key


def wants_p384(world: JobWorld) -> None:
    """As a CA with a template of its own may."""

    def before(request: Request) -> Reply | None:
        if not request.path.startswith("/finalize"):
            return None
        key = x509.load_der_x509_csr(b64decode(request.payload["csr"])).public_key()
        return None if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size == 384 else UNWANTED

    world.ca.before = before


def is_p384(world: JobWorld) -> bool:
    """Whether the certificate's key is the one that is wanted now."""
    return is_of(key_from_pem(world.secret()["data"]["tls.key"]), KeyAlgorithm.ECDSA_P384)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.ECDSA_P256, KeyAlgorithm.ECDSA_P384, KeyAlgorithm.RSA_2048])
def test_a_key_is_of_its_own_algorithm_alone(algorithm: KeyAlgorithm) -> None:
    key = generate_key(algorithm)
    assert [other for other in KeyAlgorithm if is_of(key, other)] == [algorithm]


def test_another_algorithm_makes_another_key_for_the_same_order(world: JobWorld) -> None:
    wants_p384(world)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    world.set_issuer(**P384)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE, world.record().retry
    assert is_p384(world)
    assert len(world.ca.ordered) == 1


def test_an_order_that_was_finalized_keeps_the_key_that_its_certificate_is_for(world: JobWorld) -> None:
    world.ca.script("/cert/1", *[INTERNAL] * 4)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    world.set_issuer(**P384)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


def to_the_end(world: JobWorld) -> None:
    for _ in range(8):
        code = world.run()
        if world.record().phase is Phase.ISSUED:
            return
        if code is not v.ExitCode.OTHER_POD:
            world.relaunch()
    raise AssertionError(world.record())


def begun(new_ca: NewCa, root: Path, *, refused: bool) -> JobWorld:
    """An attempt; `refused`: the one after the CA did not want the key of the first, and that was corrected."""
    world = JobWorld(root, *new_ca())
    world.apply(ingress())
    if refused:
        wants_p384(world)
        world.run()
        world.set_issuer(**P384)
        world.relaunch()
    return world


@pytest.mark.parametrize("refused", [True, False], ids=["edited before the attempt", "edited between its pods"])
def test_killed_around_the_making_of_a_key_the_next_pods_end_with_the_other_one(
    new_ca: NewCa, tmp_path: Path, refused: bool
) -> None:
    length = run_until(begun(new_ca, tmp_path / "whole", refused=refused), 10**6)
    for kill_at in range(length - 11, length - 6):  # key, record, finalize, and what is beside them
        world = begun(new_ca, tmp_path / str(kill_at), refused=refused)
        run_until(world, kill_at)
        finalized = world.ca.finalized
        world.set_issuer(**P384)
        to_the_end(world)
        assert is_p384(world) or (finalized and not refused), kill_at
        assert len(world.ca.ordered) <= 2, kill_at
        assert [reason for reason, _ in world.events()].count("CertificateFailed") == refused, kill_at
        world.close()
